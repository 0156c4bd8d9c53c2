"""All layouts of a job on a number of devices, as tables, in three steps with the rules in between.

*Stems* are degrees and micro-batches: what one micro-batch costs. Each is *scheduled* (pipeline schedule, virtual
stages, recomputation) and then *sharded* (sharding, shard group, offload). Nothing legal is left out: every degree is a
divisor of the number of devices, every micro-batch a divisor of a replica's batch, every shard group a divisor of the
data-parallel ranks. What breaks a rule is cut at the step that decides it, and counted once each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from glmplan.layout.choices import Choices
from glmplan.layout.crossing import combinations, crossed, pieces, table_of, with_columns
from glmplan.layout.distinct import distinct
from glmplan.layout.parallel_layout import (
    CONTEXT_KINDS,
    OFFLOADS,
    RECOMPUTES,
    SCHEDULES,
    SHARDINGS,
    UNSTATED,
    ContextKind,
    Ints,
    LayoutTable,
    Recompute,
    Schedule,
    Sharding,
)
from glmplan.layout.rules import RULES, Context, Rule, divisors, legal_rows

ROWS_PER_TABLE = 60_000
"""Layouts in one table: bounds memory at some hundred MiB, and keeps arrays near the processor."""
DEGREE_RULES = (
    "tp does not divide heads",
    "tp does not divide the MLP width",
    "pp exceeds the layers",
    "cp does not divide the sequence",
    "ep does not divide experts or ranks",
)
STEM_RULES = (
    "cp ranks cannot trade sequences for heads",
    "sequence parallelism does not fit",
    "expert_tp does not fit tp",
    "micro-batches do not make the global batch",
)
SCHEDULE_RULES = (
    "virtual stages do not fit layers, schedule or micro-batches",
    "a number of recomputed layers needs full recomputation",
)
SHARD_COLUMNS = ("pp", "cp", "dp", "ep", "context", "schedule", "sequence_parallel")
"""Columns of a scheduled row that decide how it can be sharded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A table of layouts that keep the rules so far, with what was cut on the way to it."""

    table: LayoutTable
    rejected: dict[str, int]
    """Reason -> rows that a rule cut: layouts, or what would have become several."""
    rows: Ints
    """Of the table that was crossed, the row that each came from."""


def candidates(context: Context, choices: Choices) -> Iterator[Batch]:
    """Every legal layout, in tables of bounded size, always in the same order."""
    start = stems(context, choices)
    nothing = start.table.take(slice(0, 0))
    yield Batch(table=nothing, rejected=start.rejected, rows=start.rows[:0])
    for rows in stem_pieces(start.table, np.arange(len(start.table)), context, choices):
        planned = scheduled(start.table.take(rows), context, choices)
        yield Batch(table=nothing, rejected=planned.rejected, rows=planned.rows[:0])
        every = np.arange(len(planned.table))
        for some in pieces(every, ways_to_shard(planned.table, context, choices), ROWS_PER_TABLE):
            yield sharded(planned.table.take(some), context, choices)


def stem_pieces(table: LayoutTable, rows: Ints, context: Context, choices: Choices) -> Iterator[Ints]:
    """``rows`` of the stems ``table`` in order, so many at a time as bound a table of scheduled rows."""
    return pieces(rows, np.full(len(rows), len(_plans(context, choices)["recompute"])), ROWS_PER_TABLE)


def stems(context: Context, choices: Choices) -> Batch:
    """Degrees and micro-batches that use all devices and keep the rules on both."""
    table, rejected = _degrees(context, choices)
    support, job = context.support, context.job
    chosen = choices.context or support.context[:1]
    kinds = [CONTEXT_KINDS.index(ContextKind(kind)) for kind in dict.fromkeys(chosen)]
    # the stack's usual exchange unless others are asked for: they differ by a few thousandths of a step
    many = (table.cp > 1)[:, None] | (np.arange(len(kinds)) == 0)
    table, _ = crossed(table, many, context=np.array(kinds))
    table = with_columns(table, context=np.where(table.cp > 1, table.context, 0))
    sequence = choices.sequence_parallel if choices.sequence_parallel is not None else support.sequence_parallel
    table, _ = crossed(table, np.array(True), sequence_parallel=np.array([int(on) for on in dict.fromkeys(sequence)]))
    if choices.sequence_parallel is None:
        fits = job.seq_len % (table.tp * table.cp) == 0
        table = table.take((table.sequence_parallel == 0) | ((table.tp > 1) & fits))
        if choices.expert_tp is None:  # experts are whole on a rank only where its tokens are its own
            table = table.take((table.sequence_parallel > 0) | (table.expert_tp == UNSTATED))
    micro = np.array(_options(choices.micro_batch, divisors(job.global_batch)))
    asked = choices.micro_batch is not None
    table, _ = crossed(table, asked | (job.global_batch % (table.dp[:, None] * micro) == 0), micro_batch=micro)
    table = with_columns(table, grad_accum=np.maximum(job.global_batch // (table.dp * table.micro_batch), 1))
    keeps, broken = legal_rows(table, context, _rules(STEM_RULES))
    return Batch(table=table.take(keeps), rejected=rejected | broken, rows=np.flatnonzero(keeps))


def scheduled(table: LayoutTable, context: Context, choices: Choices) -> Batch:
    """Each stem with every schedule, number of virtual stages and kind of recomputation."""
    layers, plans = context.job.architecture.total_layers, _plans(context, choices)
    pp, chunks, interleaves = table.pp[:, None], plans["virtual_stages"], plans["schedule"] == _INTERLEAVED
    usual = plans["schedule"] == plans["schedule"][:1]
    # without a pipeline there is one schedule; with one, chunks and interleaving go together
    keep = (pp == 1) & (chunks == 1) & usual
    keep |= (pp > 1) & ((chunks > 1) == interleaves) & ((chunks == 1) | (layers % (pp * chunks) == 0))
    if choices.virtual_stages is not None:
        keep |= usual | ((pp > 1) & (chunks > 1) & interleaves)  # what was asked for is judged by the rules
    made, rows = crossed(table, keep, **plans)
    made = with_columns(made, schedule=np.where(made.pp == 1, SCHEDULES.index(Schedule.ONE_F_ONE_B), made.schedule))
    legal, broken = legal_rows(made, context, _rules(SCHEDULE_RULES))
    return Batch(table=made.take(legal), rejected=broken, rows=rows[legal])


def sharded(table: LayoutTable, context: Context, choices: Choices) -> Batch:
    """Each scheduled row with every sharding, shard group and offload."""
    allowed = dict.fromkeys(Sharding(name) for name in (choices.sharding or context.support.shardings))
    shardings = [SHARDINGS.index(kind) for kind in allowed]
    offloads = [OFFLOADS.index(kind) for kind in dict.fromkeys(choices.offload or OFFLOADS[:1])]
    data = (table.dp * table.cp)[:, None]
    if choices.shard_group is not None:  # what was asked for is judged by the rules
        ways = combinations(sharding=shardings, shard_group=_options(choices.shard_group, ()), offload=offloads)
        made, rows = crossed(table, np.array(True), **ways)
    else:
        ways = combinations(sharding=shardings, shard_group=divisors(context.num_devices), offload=offloads)
        group = ways["shard_group"]
        hybrid = ways["sharding"] == SHARDINGS.index(Sharding.HSDP)
        unsharded = ways["sharding"] == SHARDINGS.index(Sharding.NONE)
        keep = hybrid & (group > 1) & (group < data) & (data % group == 0)
        keep |= ~hybrid & (group == np.where(unsharded, 1, data))
        if choices.sharding is None:  # one data-parallel rank has nothing to shard
            keep &= unsharded | (data > 1)
        made, rows = crossed(table, keep, **ways)
    done = {*DEGREE_RULES, *STEM_RULES, *SCHEDULE_RULES}
    legal, broken = legal_rows(made, context, tuple(rule for rule in RULES if rule.reason not in done))
    return Batch(table=made.take(legal), rejected=broken, rows=rows[legal])


def ways_to_shard(table: LayoutTable, context: Context, choices: Choices) -> Ints:
    """How many legal layouts each scheduled row becomes."""
    unique, rows = distinct(table, SHARD_COLUMNS)
    return np.bincount(sharded(unique, context, choices).rows, minlength=len(unique))[rows]


def _degrees(context: Context, choices: Choices) -> tuple[LayoutTable, dict[str, int]]:
    """Tensor, context, pipeline, data and expert degrees that use all devices and keep the rules on degrees."""
    job, n, support = context.job, context.num_devices, context.support
    every = divisors(n)
    tp = _options(choices.tp, every)
    cp = _options(choices.cp, every if support.cp and job.architecture.causal else [1])
    pp = _options(choices.pp, every if support.pp else [1])
    experts = job.architecture.moe.experts if job.architecture.moe else 1
    ep = _options(choices.ep, divisors(experts) if support.ep else [1])
    columns = [axis.ravel() for axis in np.meshgrid(tp, cp, pp, ep, indexing="ij")]
    model_ranks = columns[0] * columns[1] * columns[2]
    rejected: dict[str, int] = {}
    uses_all = n % model_ranks == 0
    if not uses_all.all() and any(option is not None for option in (choices.tp, choices.cp, choices.pp)):
        rejected["degrees do not use all devices"] = int((~uses_all).sum())
    tp_, cp_, pp_, ep_ = (column[uses_all] for column in columns)
    table = table_of(tp=tp_, cp=cp_, pp=pp_, ep=ep_, dp=n // (tp_ * cp_ * pp_))
    table = _expert_splits(table, context, choices)
    asked = choices.ep is not None
    keeps, broken = legal_rows(table, context, _rules(DEGREE_RULES))
    if not asked:  # expert degrees that do not divide the ranks are no candidates at all
        broken.pop("ep does not divide experts or ranks", None)
    divisible = job.global_batch % table.dp == 0
    if count := int((keeps & ~divisible).sum()):
        broken["dp does not divide the global batch"] = count
    return table.take(keeps & divisible), rejected | broken


def _expert_splits(table: LayoutTable, context: Context, choices: Choices) -> LayoutTable:
    """Each row with the tensor-parallel degrees of the experts that are asked for, or the one of the stack."""
    if context.job.architecture.moe is None:
        return table
    if choices.expert_tp is not None:
        table, _ = crossed(table, np.array(True), expert_tp=np.array(_options(choices.expert_tp, ())))
        return with_columns(table, expert_tp=np.where(table.expert_tp == table.tp, UNSTATED, table.expert_tp))
    whole = (table.tp > 1) & (context.support.expert_tp == "one")
    return with_columns(table, expert_tp=np.where(whole, 1, UNSTATED))


_INTERLEAVED = SCHEDULES.index(Schedule.INTERLEAVED)


def _plans(context: Context, choices: Choices) -> dict[str, Ints]:
    """Schedules, virtual stages and recomputation that a stem may have; full recomputation with each number of layers
    that was asked for, else of all layers."""
    chunks = _options(choices.virtual_stages, divisors(context.job.architecture.total_layers))
    schedules = [SCHEDULES.index(Schedule(s)) for s in dict.fromkeys(choices.schedule or context.support.schedules)]
    recomputes = [RECOMPUTES.index(kind) for kind in dict.fromkeys(choices.recompute or RECOMPUTES)]
    numbers = [UNSTATED, *sorted(set(choices.recompute_layers or ()))]
    plans = combinations(schedule=schedules, virtual_stages=chunks, recompute=recomputes, recompute_layers=numbers)
    counted = plans["recompute_layers"] != UNSTATED
    full = (plans["recompute"] == RECOMPUTES.index(Recompute.FULL)) & (choices.recompute_layers is not None)
    return {name: values[counted == full] for name, values in plans.items()}


def _rules(reasons: Sequence[str]) -> tuple[Rule, ...]:
    return tuple(rule for rule in RULES if rule.reason in reasons)


def _options(chosen: Sequence[int] | None, every: Sequence[int]) -> list[int]:
    return sorted(set(every if chosen is None else chosen))
