"""Candidates are every legal layout, once: held against a full cross product filtered by the rules."""

from typing import Any

import numpy as np
import pytest

from glmplan.architecture.transformer import MixtureOfExperts
from glmplan.layout import candidates as module
from glmplan.layout.candidates import candidates
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import CODES, LISTS, OPTIONAL, UNSTATED, LayoutTable, Recompute, Schedule, Sharding
from glmplan.layout.rules import Context, broken_rules, divisors, legal_rows
from glmplan.software.catalog import load_stack
from tests.small_jobs import EVERYTHING, all_candidates, context_of, job_of, model

ONE_STAGE_SCHEDULE = CODES["schedule"].index(Schedule.ONE_F_ONE_B)


def rows_of(table: LayoutTable) -> list[tuple[int, ...]]:
    columns = [values for name, values in table.columns().items() if name not in LISTS]
    return [tuple(int(value) for value in row) for row in np.stack(columns, axis=1)]


def cross_product(context: Context) -> LayoutTable:
    """Every combination of values that could be legal; a single stage has one schedule only."""
    job, n = context.job, context.num_devices
    experts = job.architecture.moe.experts if job.architecture.moe else 1
    axes = {
        "tp": divisors(n),
        "cp": divisors(n),
        "pp": divisors(n),
        "virtual_stages": range(1, job.architecture.total_layers + 1),
        "ep": divisors(experts),
        "micro_batch": divisors(job.global_batch),
        "sharding": range(len(CODES["sharding"])),
        "shard_group": divisors(n),
        "recompute": range(len(CODES["recompute"])),
        "schedule": range(len(CODES["schedule"])),
        "sequence_parallel": range(2),
    }
    grid = np.meshgrid(*[np.array(list(values)) for values in axes.values()], indexing="ij")
    columns = {name: values.ravel().astype(np.int64) for name, values in zip(axes, grid, strict=True)}
    columns["dp"] = np.maximum(n // (columns["tp"] * columns["cp"] * columns["pp"]), 1)
    columns["grad_accum"] = np.maximum(job.global_batch // (columns["dp"] * columns["micro_batch"]), 1)
    columns["context"] = np.where(columns["cp"] > 1, CODES["context"].index(context.support.context[0]), 0)
    size, zeros = len(columns["tp"]), np.zeros(len(columns["tp"]), dtype=np.int64)
    rest: dict[str, Any] = dict.fromkeys(CODES, zeros) | dict.fromkeys(OPTIONAL, np.full(size, UNSTATED))
    columns = rest | dict.fromkeys(LISTS, np.empty((size, 0), dtype=np.int64)) | columns
    table = LayoutTable(**columns)
    table = table.take((table.pp > 1) | (table.schedule == ONE_STAGE_SCHEDULE))
    return table.take(legal_rows(table, context)[0])


def random_context(seed: int) -> Context:
    """A small random problem; the seed decides everything."""
    rng = np.random.default_rng(seed)
    heads = int(rng.choice([2, 4, 6]))
    fields: dict[str, Any] = {
        "layers": int(rng.integers(2, 6)),
        "heads": heads,
        "kv_heads": heads,
        "ffn_hidden": 48 * heads,
    }
    if seed % 2:
        fields["moe"] = MixtureOfExperts(experts=int(rng.choice([2, 4, 6])), top_k=2, expert_ffn_hidden=48 * heads)
    arch = model(**fields)
    if seed % 3 == 2:
        arch = arch.model_copy(update={"family": "encoder"})
    stack = [None, "megatron-core", "torchtitan", "deepspeed"][seed % 4]
    support = EVERYTHING if stack is None else load_stack(stack).support
    job = job_of(arch, seq_len=int(rng.choice([96, 256])), global_batch=12)
    return context_of(job, int(rng.choice([4, 6, 8])), support)


@pytest.mark.parametrize("seed", range(10))
def test_candidates_are_the_cross_product_that_keeps_the_rules(seed: int) -> None:
    context = random_context(seed)
    found, expected = rows_of(all_candidates(context)), rows_of(cross_product(context))
    assert len(found) == len(set(found))
    assert set(found) == set(expected)
    assert found


def test_many_chunks_a_stage_and_large_micro_batches_are_candidates_too() -> None:
    context = context_of(job_of(model(layers=48), global_batch=2048), 2)
    table = all_candidates(context, Choices(recompute=(Recompute.NONE,), sharding=(Sharding.NONE,)))
    assert set(table.virtual_stages) == set(divisors(24))
    assert set(table.micro_batch) == set(divisors(2048))


@pytest.mark.parametrize("seed", range(4))
def test_a_candidate_breaks_no_rule_when_asked_alone(seed: int) -> None:
    context = random_context(seed)
    table = all_candidates(context)
    for index in range(0, len(table), max(1, len(table) // 50)):
        assert broken_rules(table.row(index), context) == []


def test_splitting_into_tables_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    context = random_context(1)
    whole = rows_of(all_candidates(context))
    monkeypatch.setattr(module, "ROWS_PER_TABLE", 1)
    assert sorted(rows_of(all_candidates(context))) == sorted(whole)


@pytest.mark.parametrize(
    "choices",
    [
        Choices(tp=(2,)),
        Choices(tp=(1, 2, 2), pp=(1, 2)),
        Choices(micro_batch=(1, 2)),
        Choices(sharding=(Sharding.FSDP, Sharding.ZERO1, Sharding.FSDP)),
        Choices(shard_group=(2,)),
        Choices(sharding=(Sharding.HSDP,), shard_group=(2, 4)),
        Choices(recompute=(Recompute.FULL, Recompute.FULL)),
        Choices(virtual_stages=(2,)),
        Choices(virtual_stages=(1, 2), schedule=(Schedule.INTERLEAVED,)),
        Choices(sequence_parallel=(True,)),
        Choices(ep=(2, 4), cp=(1, 2)),
    ],
)
def test_choices_narrow_the_space_and_add_nothing(choices: Choices) -> None:
    context = context_of(job_of(model("experts")), 8)
    every = set(rows_of(all_candidates(context)))
    chosen = all_candidates(context, choices)
    rows = rows_of(chosen)
    allowed = np.ones(len(chosen), dtype=bool)
    for name, values in choices:
        if values is not None:
            codes = [CODES[name].index(value) if name in CODES else value for value in values]
            named = np.isin(getattr(chosen, name), codes)
            allowed &= named | ((chosen.pp == 1) if name == "schedule" else False)
    assert rows
    assert len(rows) == len(set(rows))
    assert allowed.all()
    assert set(rows) <= every


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        (Choices(tp=(3,)), "degrees do not use all devices"),
        (Choices(pp=(8,)), "pp exceeds the layers"),
        (Choices(micro_batch=(3,)), "micro-batches do not make the global batch"),
        (Choices(virtual_stages=(3,)), "virtual stages do not fit layers, schedule or micro-batches"),
        (Choices(ep=(2,)), "ep does not divide experts or ranks"),
        (Choices(tp=(1,), sequence_parallel=(True,)), "sequence parallelism does not fit"),
        (Choices(sharding=(Sharding.HSDP,), shard_group=(3,)), "shard group does not fit the data-parallel ranks"),
    ],
)
def test_what_was_asked_for_and_is_illegal_is_counted_with_its_reason(choices: Choices, reason: str) -> None:
    batches = list(candidates(context_of(job_of(), 8), choices))
    assert sum(len(batch.table) for batch in batches) == 0
    assert sum(batch.rejected.get(reason, 0) for batch in batches) > 0
