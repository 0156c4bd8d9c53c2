"""The best pipeline over unlike devices, of every layout whose stages they can make up: best bound first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glmplan.cost.memory import needed_bytes
from glmplan.cost.step import CostModel, cost_model
from glmplan.errors import DoesNotFit, InputError
from glmplan.layout.candidates import candidates
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout
from glmplan.layout.rules import Context
from glmplan.search.integer_program import relative_gap
from glmplan.search.mixed_cluster import ClusterShare, MixedPipeline, mixed_pipeline
from glmplan.search.stage_planning import allows_partial, widest
from glmplan.search.stage_problem import Floats
from glmplan.search.stage_seconds import least_passage
from glmplan.software.stack import Stack
from glmplan.workload.job import TrainingJob

MOST_LAYOUTS = 24
"""Layouts that are solved for, in every order of the clusters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedSearch:
    """The best pipelines, best first."""

    best: tuple[MixedPipeline, ...]
    considered: int
    solved: int
    gap: float
    """Upper bound of the relative distance to the best of the layouts considered."""


def search_mixed(
    job: TrainingJob,
    stack: Stack,
    shares: Sequence[ClusterShare],
    choices: Choices,
    *,
    memory_margin: float = 0.05,
    keep: int = 5,
) -> MixedSearch:
    """Of the layouts that would fit evenly on the roomiest devices alone.

    Raises DoesNotFit where none is found, InputError where the stack does not train such models.
    """
    total = sum(share.num_devices for share in shares)
    if job.architecture.family not in stack.support.families:
        able = ", ".join(stack.support.families)
        raise InputError(f"stack: {stack.name} does not train {job.architecture.family} models; it trains {able}")
    context = Context(job=job, num_devices=total, support=stack.support, stack_name=stack.name)
    choices = choices.model_copy(update={"virtual_stages": (1,), "offload": None})
    partial = allows_partial(choices, context)
    models = [cost_model(job, share.cluster.sized(share.num_devices), stack) for share in shares]
    tables = [_whole_stages(batch.table, shares, total) for batch in candidates(context, choices)]
    table = LayoutTable.concatenate(tables)
    roomiest = max(models, key=lambda model: model.cluster.device.memory_capacity_bytes)
    limit = roomiest.cluster.device.memory_capacity_bytes * (1.0 - memory_margin)
    if len(table):
        table = table.take(needed_bytes(roomiest.memory(table)) <= limit)
    if not len(table):
        raise DoesNotFit(
            f"mixed cluster: no layout of {job.architecture.name} makes whole stages of each kind and fits;"
            " allow more values, or use numbers of devices with a common divisor"
        )
    bounds = _least_step_s(models, shares, table, partial=partial)
    order = np.argsort(bounds, kind="stable")
    found: list[MixedPipeline] = []
    bound_s, seen, reasons = np.inf, set[ParallelLayout](), []
    for row in order:
        best_s = min((each.step_time_s for each in found), default=np.inf)
        if bounds[row] >= best_s:
            break
        layout = widest(table.row(int(row)), partial=partial)
        if layout in seen:
            continue
        if len(seen) == MOST_LAYOUTS:
            bound_s = min(bound_s, float(bounds[row]))
            break
        seen.add(layout)
        try:
            found.append(mixed_pipeline(job, stack, shares, layout, memory_margin=memory_margin, partial=partial))
        except DoesNotFit as reason:
            reasons.append(str(reason))
            continue
        bound_s = min(bound_s, max(found[-1].bound_step_time_s, float(bounds[row])))
    if not found:
        raise DoesNotFit(reasons[0])
    found.sort(key=lambda each: each.step_time_s)
    gap = relative_gap(found[0].step_time_s, min(bound_s, found[0].step_time_s))
    return MixedSearch(best=tuple(found[:keep]), considered=len(table), solved=len(seen), gap=gap)


def _whole_stages(table: LayoutTable, shares: Sequence[ClusterShare], total: int) -> LayoutTable:
    """Layouts whose stages each lie on one kind of devices."""
    each = total // table.pp
    whole = np.all([share.num_devices % each == 0 for share in shares], axis=0)
    return table.take((table.pp > 1) & whole)


def _least_step_s(
    models: Sequence[CostModel], shares: Sequence[ClusterShare], table: LayoutTable, *, partial: bool
) -> Floats:
    """Every stage as long as the others: a kind takes work in proportion to its stages and its speed."""
    passages = [least_passage(model, table, partial=partial) for model in models]
    each = table.world_size / table.pp
    rate = sum(share.num_devices / each / passage.total_s for share, passage in zip(shares, passages, strict=True))
    shortest_s = np.min([passage.total_s for passage in passages], axis=0)
    bubble = np.min([passage.bubble for passage in passages], axis=0)
    return np.asarray((table.grad_accum - bubble) / rate + bubble * shortest_s)
