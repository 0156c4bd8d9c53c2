"""Pipelines over unlike devices: each stage lies on one kind, and faster ones with more memory get more layers.

All stages have the same tensor, context and data degrees, so each kind's devices make up whole stages. Groups other
than the pipeline's stay among like devices. Both the order of the kinds and the split are chosen; sends between stages
take as long as on the slowest kind.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from glmplan.cost.step import CostModel, cost_model
from glmplan.errors import DoesNotFit, InputError
from glmplan.hardware.cluster import Cluster
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout
from glmplan.search.stage_assignment import StageAssignment, assign_stages
from glmplan.search.stage_coefficients import StagePart, even, stage_problem
from glmplan.search.stage_planning import with_stages
from glmplan.search.stage_problem import evenly, stage_bytes
from glmplan.software.stack import Stack
from glmplan.workload.job import TrainingJob


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClusterShare:
    """Devices of one kind."""

    cluster: Cluster
    """As its profile says it, of any size."""
    num_devices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedPipeline:
    """A layout whose stages lie on several kinds of devices."""

    layout: ParallelLayout
    stage_clusters: tuple[str, ...]
    """Cluster of each stage."""
    step_time_s: float
    bound_step_time_s: float
    """No split in any order of the clusters has a shorter step."""
    even_step_time_s: float | None
    """With as many layers on every stage, in the better order; None where that does not fit."""
    peak_memory_bytes: tuple[float, ...]
    """Of each stage."""


def mixed_pipeline(
    job: TrainingJob,
    stack: Stack,
    shares: Sequence[ClusterShare],
    layout: ParallelLayout,
    *,
    memory_margin: float = 0.05,
    partial: bool = True,
) -> MixedPipeline:
    """``layout`` over all devices of ``shares``, with the best order and split.

    Raises InputError where the devices of a cluster do not make whole stages, DoesNotFit where no split fits.
    """
    num_stages = _stages_of(shares, layout)
    models = [cost_model(job, share.cluster.sized(share.num_devices), stack) for share in shares]
    constant_s = max(_constant_s(job, stack, share, layout) for share in shares)
    best: MixedPipeline | None = None
    evens, bounds, reasons = [], [], []
    for order in itertools.permutations(range(len(shares))):
        parts = [_part(models[index], num_stages[index], memory_margin) for index in order]
        problem = stage_problem(parts, layout, partial=partial)
        alike = assign_stages(evenly(problem))
        if isinstance(alike, StageAssignment):
            evens.append(alike.step_s + constant_s)
        solution = assign_stages(problem)
        if not isinstance(solution, StageAssignment):
            reasons.append(solution.sentence())
            continue
        bounds.append(solution.proof.bound + constant_s)
        if best is None or solution.step_s + constant_s < best.step_time_s:
            best = MixedPipeline(
                layout=with_stages(layout, solution, partial=partial),
                stage_clusters=tuple(shares[index].cluster.name for index in order for _ in range(num_stages[index])),
                step_time_s=solution.step_s + constant_s,
                bound_step_time_s=0.0,
                even_step_time_s=None,
                peak_memory_bytes=tuple(float(held) for held in stage_bytes(problem, solution.options)),
            )
    if best is None:
        raise DoesNotFit(f"mixed cluster: {even(layout).label()} does not fit: {'; '.join(dict.fromkeys(reasons))}")
    return replace(best, bound_step_time_s=min(bounds), even_step_time_s=min(evens, default=None))


def _stages_of(shares: Sequence[ClusterShare], layout: ParallelLayout) -> list[int]:
    if layout.virtual_stages > 1:
        raise InputError(f"layout.virtual_stages: {layout.virtual_stages} does not go with unlike devices; use 1")
    each = layout.world_size // layout.pp
    for share in shares:
        if share.num_devices % each:
            raise InputError(
                f"mixed cluster: {share.num_devices} devices of {share.cluster.name} are no whole stages of"
                f" tp {layout.tp} x cp {layout.cp} x dp {layout.dp} = {each}; use a multiple"
            )
    stages = [share.num_devices // each for share in shares]
    if sum(stages) != layout.pp:
        text = " + ".join(str(number) for number in stages)
        raise InputError(f"layout.pp: {layout.pp} is not {text} stages of the clusters; use {sum(stages)}")
    return stages


def _part(model: CostModel, num_stages: int, memory_margin: float) -> StagePart:
    capacity_bytes = model.cluster.device.memory_capacity_bytes * (1.0 - memory_margin)
    return StagePart(model=model, num_stages=num_stages, capacity_bytes=capacity_bytes)


def _constant_s(job: TrainingJob, stack: Stack, share: ClusterShare, layout: ParallelLayout) -> float:
    """What does not depend on the split: sends between stages, and the fixed cost of a step.

    Stages of one kind send as far as they would on a cluster as large as all kinds together, where there is one.
    """
    cluster = share.cluster
    whole_nodes = layout.world_size % cluster.node.devices.value == 0
    joined = layout.world_size if whole_nodes and layout.world_size <= cluster.max_devices else share.num_devices
    model = cost_model(job, cluster.sized(joined), stack)
    times = model.times(model.work(LayoutTable.of(even(layout))))
    fixed_s = model.stack["fixed_step_s"] * model.stack["machine_derate"]
    return float(times["pipeline_transfer_s"][0]) + fixed_s
