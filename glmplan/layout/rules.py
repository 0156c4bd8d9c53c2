"""The rules a layout must keep. Each is one vectorised predicate that marks the rows breaking it, with its reason.

The same rule rejects rows of a table and explains a single layout in one line.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.layout import stage_rules
from glmplan.layout.context_parallel import head_ranks
from glmplan.layout.parallel_layout import (
    CONTEXT_KINDS,
    SCHEDULES,
    SHARDINGS,
    ContextKind,
    LayoutTable,
    Offload,
    ParallelLayout,
    Schedule,
    Sharding,
)
from glmplan.layout.placement import expert_tp, is_sharding
from glmplan.software.stack import Support
from glmplan.workload.job import TrainingJob

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What rules look at besides the layout."""

    job: TrainingJob
    num_devices: int
    support: Support
    stack_name: str = "this stack"
    offloads: tuple[Offload, ...] = ()
    """What the cluster's hosts can take (``host_offload.possible_offloads``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: which rows break it, the short reason for counts, and the full sentence for one layout."""

    reason: str
    broken: Callable[[LayoutTable, Context], Mask]
    sentence: Callable[[ParallelLayout, Context], str]


def divisors(number: int) -> list[int]:
    """All divisors of ``number``, ascending."""
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})


def _or_list(values: Sequence[object]) -> str:
    texts = [str(value) for value in values[:12]]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"


def _heads(table: LayoutTable, context: Context) -> Mask:
    arch = context.job.architecture
    kv_uneven = (arch.kv_heads % table.tp != 0) & (table.tp % arch.kv_heads != 0)
    uneven = arch.heads % table.tp != 0
    return np.asarray(uneven if arch.mla else uneven | kv_uneven)


def _heads_sentence(layout: ParallelLayout, context: Context) -> str:
    arch = context.job.architecture
    usable = [d for d in divisors(arch.heads) if arch.mla or arch.kv_heads % d == 0 or d % arch.kv_heads == 0]
    kv = "" if arch.kv_heads == arch.heads or arch.mla else f" and kv_heads {arch.kv_heads}"
    return f"layout.tp: {layout.tp} does not divide heads {arch.heads}{kv}; use {_or_list(usable)}"


def _heads_not_tradable(table: LayoutTable, context: Context) -> Mask:
    """Rows whose context-parallel ranks cannot each have heads of their own (Jacobs 2023, arXiv:2309.14509)."""
    arch = context.job.architecture
    kv_heads = arch.heads if arch.mla else arch.kv_heads
    uneven = (kv_heads % (table.tp * table.cp) != 0) | (arch.heads % (table.tp * table.cp) != 0)
    trading = head_ranks(table, kv_heads)
    one_level = (trading == 1) | (trading == table.cp)
    all_to_all, hierarchical = (
        table.context == CONTEXT_KINDS.index(kind) for kind in (ContextKind.ALL_TO_ALL, ContextKind.HIERARCHICAL)
    )
    return np.asarray((table.cp > 1) & ((all_to_all & uneven) | (hierarchical & one_level)))


def _widths(table: LayoutTable, context: Context) -> Mask:
    arch = context.job.architecture
    expert_width = arch.ffn_hidden if arch.moe is None else arch.moe.expert_ffn_hidden
    return np.asarray((arch.ffn_hidden % table.tp != 0) | (expert_width % expert_tp(table) != 0))


def _interleaving(table: LayoutTable, context: Context) -> Mask:
    layers = context.job.architecture.total_layers
    interleaved = table.virtual_stages > 1
    indivisible = (layers % (table.pp * table.virtual_stages) != 0) & ~stage_rules.states_stages(table)
    uneven = indivisible | (table.grad_accum % table.pp != 0)
    wrong_schedule = interleaved != (table.schedule == SCHEDULES.index(Schedule.INTERLEAVED))
    return np.asarray(wrong_schedule | (interleaved & ((table.pp == 1) | uneven)))


def _shard_group(table: LayoutTable, context: Context) -> Mask:
    data = table.dp * table.cp
    whole = ~is_sharding(table, Sharding.NONE, Sharding.HSDP) & (table.shard_group != data)
    inside = is_sharding(table, Sharding.HSDP) & (
        (table.shard_group <= 1) | (table.shard_group >= data) | (data % np.maximum(table.shard_group, 1) != 0)
    )
    return np.asarray(whole | inside | (is_sharding(table, Sharding.NONE) & (table.shard_group != 1)))


def _unsupported(table: LayoutTable, context: Context) -> Mask:
    support = context.support
    allowed = [SHARDINGS.index(Sharding(name)) for name in support.shardings]
    schedules = [SCHEDULES.index(Schedule(name)) for name in support.schedules]
    mask = ~np.isin(table.sharding, allowed) | (~np.isin(table.schedule, schedules) & (table.pp > 1))
    for column, able in ((table.cp, support.cp), (table.pp, support.pp), (table.ep, support.ep)):
        mask = mask | ((column > 1) & (not able))
    kinds = [CONTEXT_KINDS.index(ContextKind(name)) for name in support.context]
    mask = mask | (~np.isin(table.context, kinds) & (table.cp > 1))
    return mask | ~np.isin(table.sequence_parallel, [int(value) for value in support.sequence_parallel])


def _unsupported_sentence(layout: ParallelLayout, context: Context) -> str:
    support = context.support
    missing = [name for name in ("cp", "pp", "ep") if getattr(layout, name) > 1 and not getattr(support, name)]
    missing += [] if layout.sharding in support.shardings else ["sharding"]
    missing += [] if layout.pp == 1 or layout.schedule in support.schedules else ["schedule"]
    missing += [] if layout.cp == 1 or layout.context in support.context else ["context"]
    missing += [] if layout.sequence_parallel in support.sequence_parallel else ["sequence_parallel"]
    field = missing[0]
    value = _switch(layout.sequence_parallel) if field == "sequence_parallel" else getattr(layout, field)
    usable = {
        "sharding": support.shardings,
        "schedule": support.schedules,
        "context": support.context,
        "sequence_parallel": [_switch(able) for able in support.sequence_parallel],
    }.get(field, ("1",))
    return f"layout.{field}: {value} is not supported by {context.stack_name}; use {_or_list(usable)}"


def _switch(value: bool) -> str:
    return "on" if value else "off"


RULES: tuple[Rule, ...] = (
    Rule(
        reason="degrees do not use all devices",
        broken=lambda t, c: t.tp * t.cp * t.pp * t.dp != c.num_devices,
        sentence=lambda x, c: (
            f"layout: tp {x.tp} x cp {x.cp} x pp {x.pp} x dp {x.dp} = {x.world_size} is not the {c.num_devices} devices"
            " asked for; change one degree"
        ),
    ),
    Rule(reason="tp does not divide heads", broken=_heads, sentence=_heads_sentence),
    Rule(
        reason="tp does not divide the MLP width",
        broken=_widths,
        sentence=lambda x, c: (
            f"layout.tp: {x.tp} does not divide the MLP width {c.job.architecture.ffn_hidden}; use a divisor of it"
        ),
    ),
    Rule(
        reason="pp exceeds the layers",
        broken=lambda t, c: (t.pp > c.job.architecture.total_layers) & ~stage_rules.states_stages(t),
        sentence=lambda x, c: (
            f"layout.pp: {x.pp} exceeds the {c.job.architecture.total_layers} layers; use at most that"
        ),
    ),
    Rule(
        reason="cp does not divide the sequence",
        broken=lambda t, c: (t.cp > 1) & ((c.job.seq_len % (2 * t.cp) != 0) | (not c.job.architecture.causal)),
        sentence=lambda x, c: (
            f"layout.cp: {x.cp} needs a causal model and 2 x cp to divide seq_len {c.job.seq_len};"
            " use 1 or a smaller one"
        ),
    ),
    Rule(
        reason="cp ranks cannot trade sequences for heads",
        broken=_heads_not_tradable,
        sentence=lambda x, c: (
            f"layout.context: {x.context} needs tp x cp = {x.tp * x.cp} to divide kv_heads"
            f" {c.job.architecture.kv_heads} (hierarchical: to share a divisor with it); use ring or a smaller cp"
        ),
    ),
    Rule(
        reason="sequence parallelism does not fit",
        broken=lambda t, c: (t.sequence_parallel > 0) & ((t.tp == 1) | (c.job.seq_len % (t.tp * t.cp) != 0)),
        sentence=lambda x, c: (
            f"layout.sequence_parallel: needs tp above 1 and tp x cp to divide seq_len {c.job.seq_len};"
            f" got tp {x.tp}, cp {x.cp}"
        ),
    ),
    Rule(
        reason="ep does not divide experts or ranks",
        broken=lambda t, c: (
            (t.ep > 1)
            & (
                (c.job.architecture.moe is None)
                | ((c.job.architecture.moe.experts if c.job.architecture.moe else 1) % t.ep != 0)
                | ((t.dp * t.cp * (t.tp // expert_tp(t))) % t.ep != 0)
            )
        ),
        sentence=lambda x, c: (
            f"layout.ep: {x.ep} must divide the experts"
            f" ({c.job.architecture.moe.experts if c.job.architecture.moe else 'this model has none'})"
            f" and dp x cp{' x tp / expert_tp' if x.expert_tp else ''} = {x.dp * x.cp * x.tp // (x.expert_tp or x.tp)}"
        ),
    ),
    Rule(
        reason="expert_tp does not fit tp",
        broken=lambda t, c: (
            (t.tp % expert_tp(t) != 0)
            | ((expert_tp(t) < t.tp) & (t.sequence_parallel == 0) & (c.job.architecture.moe is not None))
        ),
        sentence=lambda x, c: (
            f"layout.expert_tp: {x.expert_tp} must divide tp {x.tp}, and below it needs sequence_parallel;"
            f" use {x.tp} or turn sequence_parallel on"
        ),
    ),
    Rule(
        reason="micro-batches do not make the global batch",
        broken=lambda t, c: t.dp * t.micro_batch * t.grad_accum != c.job.global_batch,
        sentence=lambda x, c: (
            f"layout.micro_batch: dp {x.dp} x micro_batch {x.micro_batch} x grad_accum {x.grad_accum} = "
            f"{x.global_batch} is not global_batch {c.job.global_batch}; use divisors of it"
        ),
    ),
    Rule(
        reason="virtual stages do not fit layers, schedule or micro-batches",
        broken=_interleaving,
        sentence=lambda x, c: (
            f"layout.virtual_stages: {x.virtual_stages} needs pp above 1, schedule interleaved, pp x virtual_stages to"
            f" divide layers {c.job.architecture.total_layers}, and pp to divide grad_accum {x.grad_accum}"
        ),
    ),
    Rule(
        reason="stated stages do not hold the layers",
        broken=lambda t, c: stage_rules.stages_misfit(t, c.job.architecture.total_layers),
        sentence=lambda x, c: stage_rules.stages_sentence(x, c.job.architecture.total_layers),
    ),
    Rule(
        reason="a number of recomputed layers needs full recomputation",
        broken=lambda t, c: stage_rules.recompute_layers_misfit(t, supported=c.support.recompute_layers),
        sentence=lambda x, c: stage_rules.recompute_layers_sentence(
            x, c.stack_name, supported=c.support.recompute_layers
        ),
    ),
    Rule(
        reason="the host's figures are not known",
        broken=lambda t, c: stage_rules.offload_misfit(t, c.offloads),
        sentence=lambda x, c: stage_rules.offload_sentence(x),
    ),
    Rule(
        reason="sharding needs data-parallel ranks",
        broken=lambda t, c: ~is_sharding(t, Sharding.NONE) & (t.dp * t.cp == 1),
        sentence=lambda x, c: f"layout.sharding: {x.sharding} needs dp x cp above 1; use none",
    ),
    Rule(
        reason="shard group does not fit the data-parallel ranks",
        broken=_shard_group,
        sentence=lambda x, c: (
            f"layout.shard_group: {x.shard_group} does not fit {x.sharding} with dp x cp = {x.dp * x.cp};"
            " use 1 for none, dp x cp for ZeRO and FSDP, a smaller divisor above 1 for HSDP"
        ),
    ),
    Rule(
        reason="ZeRO-2 and ZeRO-3 do not go with a pipeline",
        broken=lambda t, c: is_sharding(t, Sharding.ZERO2, Sharding.ZERO3) & (t.pp > 1),
        sentence=lambda x, c: f"layout.sharding: {x.sharding} does not go with pp {x.pp}; use zero1 or fsdp, or pp 1",
    ),
    Rule(reason="not supported by the software stack", broken=_unsupported, sentence=_unsupported_sentence),
)


def broken_rules(layout: ParallelLayout, context: Context) -> list[str]:
    """One sentence for every rule that ``layout`` breaks; empty when it is legal."""
    table = LayoutTable.of(layout)
    return [rule.sentence(layout, context) for rule in RULES if bool(rule.broken(table, context)[0])]


def legal_rows(table: LayoutTable, context: Context, rules: tuple[Rule, ...] = RULES) -> tuple[Mask, dict[str, int]]:
    """Rows that keep all ``rules``, and how many others broke each (counted at the first rule broken)."""
    legal = np.ones(len(table), dtype=bool)
    rejected: dict[str, int] = {}
    for rule in rules:
        broken = legal & np.broadcast_to(rule.broken(table, context), legal.shape)
        if count := int(broken.sum()):
            rejected[rule.reason] = count
        legal &= ~broken
    return legal, rejected
