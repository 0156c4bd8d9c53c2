"""All layouts of a job on a number of devices, as tables: degrees first, the rest crossed in, rules in between.

Nothing legal is left out: every degree is a divisor of the number of devices, every micro-batch a divisor of a
replica's batch, every shard group a divisor of the data-parallel ranks. Degrees that break a rule are cut before they
are crossed with the rest, and counted once each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import RECOMPUTES, SCHEDULES, SHARDINGS, Ints, LayoutTable, Schedule, Sharding
from glmplan.layout.rules import RULES, Context, divisors, legal_rows

MAX_VIRTUAL_STAGES = 16
"""More chunks a rank than any published run has; the bubble they could still save is below a hundredth of a step."""
MAX_AUTO_MICRO_BATCH = 512
"""Larger micro-batches are tried only when asked for."""
ROWS_PER_TABLE = 200_000
"""Layouts in one table: bounds memory at some hundred MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A table of legal layouts, with what was cut on the way to it."""

    table: LayoutTable
    rejected: dict[str, int]
    """Reason -> layouts (or degrees, where a rule cut them before they were crossed with the rest)."""


def candidates(context: Context, choices: Choices) -> Iterator[Batch]:
    """Every legal layout, in tables of bounded size, always in the same order."""
    degrees, rejected = _degrees(context, choices)
    per_degree = _variants_upper_bound(context, choices)
    rows = max(1, ROWS_PER_TABLE // per_degree)
    yield Batch(table=degrees.take(slice(0, 0)), rejected=rejected)
    for start in range(0, len(degrees), rows):
        table = _variants(degrees.take(slice(start, start + rows)), context, choices)
        legal, broken = legal_rows(table, context)
        yield Batch(table=table.take(legal), rejected=broken)


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
    table = _table(tp=tp_, cp=cp_, pp=pp_, ep=ep_, dp=n // (tp_ * cp_ * pp_))
    asked = choices.ep is not None
    keeps, broken = legal_rows(table, context, tuple(rule for rule in RULES if rule.reason in DEGREE_RULES))
    if not asked:  # expert degrees that do not divide the ranks are no candidates at all
        broken.pop("ep does not divide experts or ranks", None)
    divisible = job.global_batch % table.dp == 0
    if count := int((keeps & ~divisible).sum()):
        broken["dp does not divide the global batch"] = count
    return table.take(keeps & divisible), rejected | broken


DEGREE_RULES = (
    "tp does not divide heads",
    "tp does not divide the MLP width",
    "pp exceeds the layers",
    "cp does not divide the sequence",
    "ep does not divide experts or ranks",
)


def _variants(degrees: LayoutTable, context: Context, choices: Choices) -> LayoutTable:
    """Each row of ``degrees`` with every schedule, micro-batch, sharding, recomputation and sequence parallelism."""
    support, layers = context.support, context.job.architecture.total_layers
    table = degrees
    chunks = _options(choices.virtual_stages, [v for v in divisors(layers) if v <= MAX_VIRTUAL_STAGES])
    schedules = [SCHEDULES.index(Schedule(s)) for s in dict.fromkeys(choices.schedule or support.schedules)]
    interleaved = SCHEDULES.index(Schedule.INTERLEAVED)
    table = _cross(table, "virtual_stages", chunks)
    table = _cross(table, "schedule", schedules)
    # without a pipeline there is one schedule; with one, chunks and interleaving go together
    alone = (table.pp == 1) & (table.virtual_stages == 1) & (table.schedule == schedules[0])
    alone_schedule = SCHEDULES.index(Schedule.ONE_F_ONE_B)
    piped = (table.pp > 1) & ((table.virtual_stages > 1) == (table.schedule == interleaved))
    keep = alone | piped
    if choices.virtual_stages is not None:
        keep |= table.schedule == schedules[0]  # what was asked for is judged by the rules, with a reason
    table = table.take(keep)
    table = _with(table, schedule=np.where(table.pp == 1, alone_schedule, table.schedule))
    batch = context.job.global_batch
    micro = _options(choices.micro_batch, [d for d in divisors(batch) if d <= MAX_AUTO_MICRO_BATCH])
    table = _cross(table, "micro_batch", micro)
    if choices.micro_batch is None:
        table = table.take(batch % (table.dp * table.micro_batch) == 0)
    table = _with(table, grad_accum=np.maximum(batch // (table.dp * table.micro_batch), 1))
    table = _shardings(table, context, choices)
    table = _cross(table, "recompute", [RECOMPUTES.index(r) for r in dict.fromkeys(choices.recompute or RECOMPUTES)])
    sequence = choices.sequence_parallel if choices.sequence_parallel is not None else support.sequence_parallel
    table = _cross(table, "sequence_parallel", [int(value) for value in dict.fromkeys(sequence)])
    if choices.sequence_parallel is None:
        fits = context.job.seq_len % (table.tp * table.cp) == 0
        table = table.take((table.sequence_parallel == 0) | ((table.tp > 1) & fits))
    return table


def _shardings(table: LayoutTable, context: Context, choices: Choices) -> LayoutTable:
    allowed = dict.fromkeys(Sharding(name) for name in (choices.sharding or context.support.shardings))
    table = _cross(table, "sharding", [SHARDINGS.index(kind) for kind in allowed])
    if choices.shard_group is not None:  # what was asked for is judged by the rules
        return _cross(table, "shard_group", _options(choices.shard_group, ()))
    data = table.dp * table.cp
    hybrid = table.sharding == SHARDINGS.index(Sharding.HSDP)
    unsharded = table.sharding == SHARDINGS.index(Sharding.NONE)
    whole = _with(table.take(~hybrid), shard_group=np.where(unsharded, 1, data)[~hybrid])
    if choices.sharding is None:  # one data-parallel rank has nothing to shard
        alone = (whole.dp * whole.cp == 1) & (whole.sharding != SHARDINGS.index(Sharding.NONE))
        whole = whole.take(~alone)
    split = _cross(table.take(hybrid), "shard_group", divisors(context.num_devices))
    inside = split.dp * split.cp
    split = split.take((split.shard_group > 1) & (split.shard_group < inside) & (inside % split.shard_group == 0))
    return LayoutTable.concatenate([whole, split])


def _variants_upper_bound(context: Context, choices: Choices) -> int:
    micro = len(choices.micro_batch or divisors(context.job.global_batch))
    chunks = len(choices.virtual_stages or range(6)) + 1
    shardings = len(choices.sharding or context.support.shardings) + len(divisors(context.num_devices)) // 2
    return max(1, micro * chunks * shardings * len(choices.recompute or RECOMPUTES) * 2)


def _options(chosen: Sequence[int] | None, every: Sequence[int]) -> list[int]:
    return sorted(set(every if chosen is None else chosen))


def _table(**columns: Ints) -> LayoutTable:
    size = len(next(iter(columns.values())))
    ones, zeros = np.ones(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    names = LayoutTable.__dataclass_fields__
    coded = ("sharding", "recompute", "schedule", "sequence_parallel")
    return LayoutTable(**{name: columns.get(name, zeros if name in coded else ones) for name in names})


def _cross(table: LayoutTable, name: str, values: Sequence[int]) -> LayoutTable:
    """Each row once for every value of column ``name``."""
    rows = np.repeat(np.arange(len(table)), len(values))
    return _with(table.take(rows), **{name: np.tile(np.asarray(values, dtype=np.int64), len(table))})


def _with(table: LayoutTable, **columns: npt.NDArray[np.int64]) -> LayoutTable:
    return LayoutTable(**(table.columns() | columns))
