"""The layouts around a chosen one: the best of another structure, faster ones that need more memory, ones that fit."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.cost.step import CostModel
from glmplan.layout.candidates import candidates
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import OFFLOADS, LayoutTable, ParallelLayout, Sharding
from glmplan.layout.rules import Context, divisors
from glmplan.plan.document import Option, Surroundings
from glmplan.plan.request import PlanRequest
from glmplan.search.binding import bindings
from glmplan.search.exhaustive import limiting_bytes
from glmplan.search.partial_recompute import fewest_repeated

WORTH_A_CHANGE = 0.01
"""A gain of less than this share of a step is no reason to want more memory."""
MOST_MEMORY = 2.0
"""Layouts that need more than so many times the memory allowed are out of reach of any change."""
DEGREES = ("tp", "cp", "pp", "ep")
FIELDS = (*DEGREES, "virtual_stages", "micro_batch", "sharding", "recompute", "sequence_parallel", "offload")
"""What a change of layout is counted in; the other fields follow from them."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Costed:
    """Layouts with what they need and take."""

    table: LayoutTable
    needed_bytes: Floats
    step_time_s: Floats

    def take(self, rows: npt.NDArray[np.int64]) -> "_Costed":
        return _Costed(
            table=self.table.take(rows), needed_bytes=self.needed_bytes[rows], step_time_s=self.step_time_s[rows]
        )


def surroundings(
    model: CostModel,
    context: Context,
    request: PlanRequest,
    layout: ParallelLayout,
    *,
    choices: Choices,
    whole_space: bool = False,
) -> Surroundings:
    """What binds ``layout`` and lies around it, among all layouts of ``choices`` or those near it.

    Near are degrees and micro-batches within a factor of two. Where ``layout`` does not fit, ``choices`` are opened.
    """
    limit = model.cluster.device.memory_capacity_bytes * (1.0 - request.memory_margin)
    chosen = _costed(model, LayoutTable.of(layout), request)
    too_large = bool(chosen.needed_bytes[0] > limit)
    if too_large:  # what was asked for does not fit: look beyond it
        choices = Choices(offload=OFFLOADS)
    if not whole_space:
        choices = _near(choices, layout, context)
    best: list[_Costed] = []
    larger: list[_Costed] = []
    fitting: list[_Costed] = []
    for fits, costed in _all_costed(model, context, request, choices, limit):
        other = _differs(costed.table, chosen.table)
        value = costed.step_time_s if request.objective == "time" else costed.needed_bytes
        if (rows := np.flatnonzero(fits & other)).size:
            best.append(costed.take(rows[[np.argmin(value[rows])]]))
        if too_large and (rows := np.flatnonzero(fits)).size:
            order = np.lexsort((costed.step_time_s[rows], _changes(costed.table.take(rows), chosen.table)))
            fitting.append(costed.take(rows[order[:1]]))
        elif request.objective == "time":
            larger.append(_front(costed, np.flatnonzero(~fits), chosen.step_time_s[0]))
    return Surroundings(
        bindings=bindings(model, layout),
        whole_space=whole_space,
        different=_best(model, best, request),
        larger=_ends(model, larger, float(chosen.step_time_s[0])),
        fitting=_least_changed(model, fitting, chosen.table),
    )


def _costed(model: CostModel, table: LayoutTable, request: PlanRequest) -> _Costed:
    memory = model.memory(table)
    return _Costed(
        table=table,
        needed_bytes=limiting_bytes(model, memory, request.memory_bound),
        step_time_s=model.with_time(table, memory).step_time_s,
    )


def _all_costed(
    model: CostModel, context: Context, request: PlanRequest, choices: Choices, limit: float
) -> Iterator[tuple[npt.NDArray[np.bool_], _Costed]]:
    """Legal layouts that need at most MOST_MEMORY times ``limit``, and which of them fit."""

    def room(memory: dict[str, Floats]) -> npt.NDArray[np.bool_]:
        return (limiting_bytes(model, memory, request.memory_bound) <= limit) & model.fits_host(memory)

    for batch in candidates(context, choices):
        if not len(batch.table):
            continue
        table, memory = batch.table, model.memory(batch.table)
        if choices.recompute_layers is None and context.support.recompute_layers:
            layers = context.job.architecture.total_layers
            refined = fewest_repeated(table, memory, layers, model.memory, room)
            table, memory = refined.table, refined.memory
        needed = limiting_bytes(model, memory, request.memory_bound)
        rows = np.flatnonzero((needed <= MOST_MEMORY * limit) & model.fits_host(memory))
        if rows.size:
            table, memory = table.take(rows), {name: values[rows] for name, values in memory.items()}
            seconds = model.with_time(table, memory).step_time_s
            yield room(memory), _Costed(table=table, needed_bytes=needed[rows], step_time_s=seconds)


def _near(choices: Choices, layout: ParallelLayout, context: Context) -> Choices:
    """``choices`` cut to within a factor of two of ``layout``; hybrid shard groups only where it has one."""
    job, support = context.job, context.support
    experts = job.architecture.moe.experts if job.architecture.moe else 1
    ranges = {name: divisors(context.num_devices) for name in ("tp", "pp", "cp")}
    ranges |= {"ep": divisors(experts), "micro_batch": divisors(job.global_batch)}
    able = {"pp": support.pp, "cp": support.cp and job.architecture.causal, "ep": support.ep}
    updates: dict[str, object] = {}
    for name, values in ranges.items():
        own, allowed = getattr(layout, name), getattr(choices, name)
        values = values if able.get(name, True) else [own]
        updates[name] = tuple(v for v in values if own <= 2 * v <= 4 * own and (allowed is None or v in allowed))
    if choices.sharding is None and layout.sharding is not Sharding.HSDP:
        kinds = (Sharding(name) for name in support.shardings)
        updates["sharding"] = tuple(kind for kind in kinds if kind is not Sharding.HSDP)
    return choices.model_copy(update=updates)


def _differs(table: LayoutTable, chosen: LayoutTable) -> npt.NDArray[np.bool_]:
    """Rows with another parallel structure, whatever their schedule, sharding or micro-batch."""
    columns, own = table.columns(), chosen.columns()
    return np.asarray(np.any([columns[name] != own[name] for name in DEGREES], axis=0))


def _changes(table: LayoutTable, chosen: LayoutTable) -> npt.NDArray[np.int64]:
    columns, own = table.columns(), chosen.columns()
    return np.asarray(np.sum([columns[name] != own[name] for name in FIELDS], axis=0))


def _front(costed: _Costed, rows: npt.NDArray[np.int64], chosen_s: float) -> _Costed:
    """Of ``rows`` those worth a change that no other beats in both memory and time, leanest first."""
    rows = rows[costed.step_time_s[rows] * (1.0 + WORTH_A_CHANGE) <= chosen_s]
    rows = rows[np.lexsort((costed.step_time_s[rows], costed.needed_bytes[rows]))]
    seconds = costed.step_time_s[rows]
    before = np.concatenate([[np.inf], np.minimum.accumulate(seconds)[:-1]]) if rows.size else seconds
    return costed.take(rows[seconds < before])


def _joined(parts: list[_Costed]) -> _Costed:
    return _Costed(
        table=LayoutTable.concatenate([part.table for part in parts]),
        needed_bytes=np.concatenate([part.needed_bytes for part in parts]),
        step_time_s=np.concatenate([part.step_time_s for part in parts]),
    )


def _best(model: CostModel, parts: list[_Costed], request: PlanRequest) -> Option | None:
    if not parts:
        return None
    costed = _joined(parts)
    value = costed.step_time_s if request.objective == "time" else costed.needed_bytes
    return _option(model, costed, int(np.argmin(value)))


def _ends(model: CostModel, parts: list[_Costed], chosen_s: float) -> tuple[Option, ...]:
    parts = [part for part in parts if len(part.table)]
    if not parts:
        return ()
    costed = _joined(parts)
    front = _front(costed, np.arange(len(costed.table)), chosen_s)
    ends = dict.fromkeys((0, len(front.table) - 1))
    return tuple(_option(model, front, row) for row in ends)


def _least_changed(model: CostModel, parts: list[_Costed], chosen: LayoutTable) -> Option | None:
    if not parts:
        return None
    costed = _joined(parts)
    order = np.lexsort((costed.step_time_s, _changes(costed.table, chosen)))
    return _option(model, costed, int(order[0]))


def _option(model: CostModel, costed: _Costed, row: int) -> Option:
    table = costed.table.take(slice(row, row + 1))
    return Option(layout=table.row(0), estimate=model.estimate(table).row(0))
