"""The rules of layouts: for each one example that breaks it, with its sentence, and one that keeps it."""

from dataclasses import replace

import numpy as np
import pytest

from glmplan.architecture.catalog import load_architecture
from glmplan.layout.parallel_layout import LayoutTable, Offload, ParallelLayout
from glmplan.layout.rules import RULES, Context, broken_rules, divisors, legal_rows
from glmplan.software.catalog import load_stack
from tests.small_jobs import context_of, job_of, legal_layouts, model, some_of

DENSE = context_of(job_of(), 8)
EXPERTS = context_of(job_of(model("experts")), 8)
ENCODER = context_of(job_of(model(family="encoder")), 8)
PLAIN = {"dp": 8, "grad_accum": 1}


def supported_by(stack: str) -> Context:
    return Context(job=job_of(), num_devices=8, support=load_stack(stack).support, stack_name=stack)


BREAKING = [
    (
        "degrees do not use all devices",
        DENSE,
        {"dp": 4, "grad_accum": 2},
        "layout: tp 1 x cp 1 x pp 1 x dp 4 = 4 is not the 8 devices asked for; change one degree",
    ),
    (
        "tp does not divide heads",
        context_of(job_of(), 6),
        {"tp": 3, "dp": 2, "grad_accum": 4},
        "layout.tp: 3 does not divide heads 4 and kv_heads 2; use 1, 2 or 4",
    ),
    (
        "tp does not divide the MLP width",
        context_of(job_of(model(heads=7, kv_heads=7)), 7),
        {"tp": 7, "grad_accum": 8},
        "layout.tp: 7 does not divide the MLP width 384; use a divisor of it",
    ),
    (
        "pp exceeds the layers",
        DENSE,
        {"pp": 8, "grad_accum": 8},
        "layout.pp: 8 exceeds the 4 layers; use at most that",
    ),
    (
        "cp does not divide the sequence",
        context_of(job_of(seq_len=100), 8),
        {"cp": 8, "grad_accum": 8},
        "layout.cp: 8 needs a causal model and 2 x cp to divide seq_len 100; use 1 or a smaller one",
    ),
    (
        "cp does not divide the sequence",
        ENCODER,
        {"cp": 2, "dp": 4, "grad_accum": 2},
        "layout.cp: 2 needs a causal model and 2 x cp to divide seq_len 256; use 1 or a smaller one",
    ),
    (
        "cp ranks cannot trade sequences for heads",
        DENSE,
        {"cp": 4, "dp": 2, "grad_accum": 4, "context": "all-to-all"},
        "layout.context: all-to-all needs tp x cp = 4 to divide kv_heads 2 (hierarchical: to share a divisor with it);"
        " use ring or a smaller cp",
    ),
    (
        "not supported by the software stack",
        supported_by("torchtitan"),
        {"cp": 2, "dp": 4, "grad_accum": 2, "context": "ring"},
        "layout.context: ring is not supported by torchtitan; use gathered-blocks",
    ),
    (
        "sequence parallelism does not fit",
        DENSE,
        PLAIN | {"sequence_parallel": True},
        "layout.sequence_parallel: needs tp above 1 and tp x cp to divide seq_len 256; got tp 1, cp 1",
    ),
    (
        "ep does not divide experts or ranks",
        EXPERTS,
        PLAIN | {"ep": 8},
        "layout.ep: 8 must divide the experts (4) and dp x cp = 8",
    ),
    (
        "ep does not divide experts or ranks",
        DENSE,
        PLAIN | {"ep": 2},
        "layout.ep: 2 must divide the experts (this model has none) and dp x cp = 8",
    ),
    (
        "micro-batches do not make the global batch",
        DENSE,
        {"dp": 8, "grad_accum": 2},
        "layout.micro_batch: dp 8 x micro_batch 1 x grad_accum 2 = 16 is not global_batch 8; use divisors of it",
    ),
    (
        "virtual stages do not fit layers, schedule or micro-batches",
        DENSE,
        {"pp": 2, "dp": 4, "grad_accum": 2, "virtual_stages": 2},
        "layout.virtual_stages: 2 needs pp above 1, schedule interleaved, pp x virtual_stages to divide layers 4,"
        " and pp to divide grad_accum 2",
    ),
    (
        "sharding needs data-parallel ranks",
        DENSE,
        {"tp": 4, "pp": 2, "grad_accum": 8, "sharding": "zero1"},
        "layout.sharding: zero1 needs dp x cp above 1; use none",
    ),
    (
        "shard group does not fit the data-parallel ranks",
        DENSE,
        PLAIN | {"sharding": "hsdp", "shard_group": 8},
        "layout.shard_group: 8 does not fit hsdp with dp x cp = 8; use 1 for none, dp x cp for ZeRO and FSDP,"
        " a smaller divisor above 1 for HSDP",
    ),
    (
        "expert_tp does not fit tp",
        EXPERTS,
        {"tp": 2, "dp": 4, "grad_accum": 2, "expert_tp": 1},
        "layout.expert_tp: 1 must divide tp 2, and below it needs sequence_parallel; use 2 or turn sequence_parallel"
        " on",
    ),
    (
        "stated stages do not hold the layers",
        DENSE,
        {"pp": 2, "dp": 4, "grad_accum": 2, "stage_layers": (2, 1)},
        "layout.stage_layers: 2 chunks with 3 layers are not pp x virtual_stages = 2 chunks with 4;"
        " only the first and the last may be empty",
    ),
    (
        "stated stages do not hold the layers",
        DENSE,
        {"pp": 4, "dp": 2, "grad_accum": 4, "stage_layers": (2, 0, 1, 1)},
        "layout.stage_layers: 4 chunks with 4 layers are not pp x virtual_stages = 4 chunks with 4;"
        " only the first and the last may be empty",
    ),
    (
        "a number of recomputed layers needs full recomputation",
        DENSE,
        PLAIN | {"recompute_layers": 2},
        "layout.recompute_layers: 2 with recompute none, pp 1; it needs recompute full,"
        " and either one number for all stages or one for each",
    ),
    (
        "a number of recomputed layers needs full recomputation",
        DENSE,
        {"pp": 2, "dp": 4, "grad_accum": 2, "recompute": "full", "stage_recompute_layers": (1,)},
        "layout.stage_recompute_layers: 1 numbers with recompute full, pp 2; it needs recompute full,"
        " and either one number for all stages or one for each",
    ),
    (
        "a number of recomputed layers needs full recomputation",
        supported_by("deepspeed"),
        PLAIN | {"recompute": "full", "recompute_layers": 2},
        "layout.recompute_layers: 2 is not supported by deepspeed, which recomputes all layers alike; leave it out",
    ),
    (
        "the host's figures are not known",
        DENSE,
        PLAIN | {"offload": "optimizer"},
        "layout.offload: optimizer needs the device's host_link and the node's host.memory_bandwidth in the cluster's"
        " profile; state them or use none",
    ),
    (
        "ZeRO-2 and ZeRO-3 do not go with a pipeline",
        DENSE,
        {"pp": 2, "dp": 4, "grad_accum": 2, "sharding": "zero2", "shard_group": 4},
        "layout.sharding: zero2 does not go with pp 2; use zero1 or fsdp, or pp 1",
    ),
    (
        "not supported by the software stack",
        supported_by("deepspeed"),
        {"pp": 2, "dp": 4, "grad_accum": 2},
        "layout.pp: 2 is not supported by deepspeed; use 1",
    ),
    (
        "not supported by the software stack",
        supported_by("deepspeed"),
        PLAIN | {"sharding": "fsdp", "shard_group": 8},
        "layout.sharding: fsdp is not supported by deepspeed; use none, zero1, zero2 or zero3",
    ),
    (
        "not supported by the software stack",
        supported_by("deepspeed"),
        {"tp": 2, "dp": 4, "grad_accum": 2, "sequence_parallel": True},
        "layout.sequence_parallel: on is not supported by deepspeed; use off",
    ),
]
KEEPING = [
    (DENSE, PLAIN),
    (DENSE, {"tp": 4, "dp": 2, "grad_accum": 4, "sequence_parallel": True}),
    (DENSE, {"pp": 4, "dp": 2, "micro_batch": 2, "grad_accum": 2}),
    (DENSE, {"pp": 2, "dp": 4, "grad_accum": 2, "virtual_stages": 2, "schedule": "interleaved"}),
    (DENSE, {"cp": 8, "grad_accum": 8, "sharding": "zero3", "shard_group": 8}),
    (DENSE, PLAIN | {"sharding": "hsdp", "shard_group": 2}),
    (EXPERTS, PLAIN | {"ep": 4, "sharding": "zero1", "shard_group": 8}),
    (EXPERTS, {"cp": 2, "dp": 4, "grad_accum": 2, "ep": 4}),
    (EXPERTS, {"tp": 4, "dp": 2, "grad_accum": 4, "ep": 4, "expert_tp": 1, "sequence_parallel": True}),
    (DENSE, {"pp": 4, "dp": 2, "grad_accum": 4, "stage_layers": (0, 2, 2, 0)}),
    (
        DENSE,
        {
            "pp": 2,
            "dp": 4,
            "grad_accum": 2,
            "virtual_stages": 2,
            "schedule": "interleaved",
            "stage_layers": (0, 2, 1, 1),
            "recompute": "full",
            "stage_recompute_layers": (1, 0),
        },
    ),
    (replace(DENSE, offloads=tuple(Offload)), PLAIN | {"offload": "optimizer+activations"}),
    (ENCODER, {"pp": 4, "tp": 2, "grad_accum": 8}),
    (supported_by("deepspeed"), PLAIN | {"sharding": "zero3", "shard_group": 8}),
]


@pytest.mark.parametrize(("reason", "context", "fields", "sentence"), BREAKING)
def test_a_broken_rule_says_where_what_and_what_would_be_right(
    reason: str, context: Context, fields: dict[str, object], sentence: str
) -> None:
    layout = ParallelLayout.model_validate(fields)
    assert sentence in broken_rules(layout, context)
    rule = next(rule for rule in RULES if rule.reason == reason)
    assert bool(rule.broken(LayoutTable.of(layout), context)[0])


def test_every_rule_has_a_breaking_example() -> None:
    assert {reason for reason, *_ in BREAKING} == {rule.reason for rule in RULES}


@pytest.mark.parametrize(("context", "fields"), KEEPING)
def test_a_legal_layout_breaks_no_rule(context: Context, fields: dict[str, object]) -> None:
    assert broken_rules(ParallelLayout.model_validate(fields), context) == []


def test_key_value_heads_may_be_divided_or_repeated() -> None:
    """Llama-3 8B: 32 heads, 8 key-value heads; tp 16 repeats each key-value head twice."""
    arch = load_architecture("llama3-8b")
    context = context_of(job_of(arch, global_batch=16), 16)
    for tp in (1, 2, 4, 8, 16):
        layout = ParallelLayout(tp=tp, dp=16 // tp, grad_accum=tp)
        assert broken_rules(layout, context) == []


def test_all_broken_rules_are_said_at_once() -> None:
    layout = ParallelLayout(tp=3, pp=9, sequence_parallel=True)
    assert len(broken_rules(layout, DENSE)) >= 4


@pytest.mark.parametrize("kind", ["dense", "experts", "latent", "encoder-decoder"])
def test_one_layout_and_a_table_are_judged_alike(kind: str) -> None:
    table = some_of(legal_layouts(kind), 40)
    narrower = Context(
        job=job_of(model(kind)), num_devices=16, support=load_stack("glmplan").support, stack_name="glmplan"
    )
    legal, rejected = legal_rows(table, narrower)
    single = [not broken_rules(table.row(index), narrower) for index in range(len(table))]
    assert legal.tolist() == single
    assert sum(rejected.values()) == int(np.sum(~legal))


@pytest.mark.parametrize("number", [1, 2, 12, 97, 360, 1024, 9973 * 2])
def test_divisors_are_what_divides(number: int) -> None:
    assert divisors(number) == [d for d in range(1, number + 1) if number % d == 0]
