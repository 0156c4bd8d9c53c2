"""What splitting the layers of uneven models brings: `python -m tests.stage_gains` prints a row a model.

The same layout with even stages and with those of the integer program, both with as much recomputation as memory asks
for: gain in the cost model, and in a simulation of 1F1B pass by pass with the stages' seconds.
"""

from dataclasses import dataclass, replace

import numpy as np

from glmplan.architecture.catalog import load_architecture
from glmplan.cost.step import CostModel, cost_model
from glmplan.hardware.catalog import load_cluster
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Recompute, Sharding
from glmplan.search.stage_assignment import StageAssignment, assign_stages
from glmplan.search.stage_coefficients import StagePart, stage_problem
from glmplan.search.stage_planning import with_stages
from glmplan.search.stage_problem import StageProblem, evenly, stage_seconds
from glmplan.software.catalog import load_stack
from glmplan.workload.job import TrainingJob
from tests.search.pipeline_simulation import one_f_one_b_s

FORWARD_SHARE = 1.0 / 3.0
"""Of a stage's seconds: matmuls run once forward and twice backward."""
MARGIN = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class UnevenJob:
    """A model that does not split evenly, and why."""

    model: str
    why: str
    cluster: str
    layout: ParallelLayout
    seq_len: int = 8192


def _layout(**fields: object) -> ParallelLayout:
    values = {"micro_batch": 1, "grad_accum": 64, "recompute": Recompute.FULL} | fields
    if values.get("dp", 1) != 1:
        values |= {"sharding": Sharding.ZERO1, "shard_group": values["dp"]}
    return ParallelLayout.model_validate(values)


JOBS = (
    UnevenJob(
        model="llama3-8b", why="large vocabulary", cluster="dgx-h100-pod", layout=_layout(tp=2, pp=4, dp=2)
    ),
    UnevenJob(model="qwen3-14b", why="large vocabulary", cluster="dgx-a100-pod", layout=_layout(tp=2, pp=8, dp=2)),
    UnevenJob(
        model="gpt-oss-20b", why="large vocabulary, experts", cluster="dgx-h100-pod",
        layout=_layout(pp=4, dp=8, ep=8), seq_len=4096,
    ),
    UnevenJob(
        model="megatron-530b", why="105 layers on 32 stages", cluster="dgx-a100-pod", layout=_layout(tp=8, pp=32),
        seq_len=2048,
    ),
    UnevenJob(
        model="llama3-405b", why="126 layers on 16 stages", cluster="dgx-h100-pod",
        layout=_layout(tp=8, sequence_parallel=True, pp=16),
    ),
    UnevenJob(
        model="deepseek-v2", why="a dense layer before experts", cluster="dgx-h100-pod",
        layout=_layout(pp=16, dp=8, ep=8), seq_len=4096,
    ),
    UnevenJob(
        model="glm4.5-air", why="a dense layer before experts", cluster="dgx-h100-pod",
        layout=_layout(pp=8, dp=8, ep=8), seq_len=4096,
    ),
    UnevenJob(
        model="t5-11b", why="cross-attention in half of the layers", cluster="dgx-a100-pod",
        layout=_layout(tp=4, pp=4), seq_len=512,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StageGain:
    """Relative gains of the program's split over even stages."""

    job: UnevenJob
    even: ParallelLayout
    best: ParallelLayout
    predicted: float
    simulated: float
    gap: float


def stage_gain(job: UnevenJob) -> StageGain | None:
    """None where even stages do not fit."""
    stack = load_stack("megatron-core")
    training = TrainingJob(
        architecture=load_architecture(job.model), seq_len=job.seq_len, global_batch=job.layout.global_batch
    )
    model = cost_model(training, load_cluster(job.cluster).sized(job.layout.world_size), stack)
    capacity_bytes = model.cluster.device.memory_capacity_bytes * (1.0 - MARGIN)
    part = StagePart(model=model, num_stages=job.layout.pp, capacity_bytes=capacity_bytes)
    problem = stage_problem([part], job.layout, partial=True)
    even, best = assign_stages(evenly(problem)), assign_stages(problem)
    if not isinstance(even, StageAssignment) or not isinstance(best, StageAssignment):
        return None
    layouts = [with_stages(job.layout, each, partial=True) for each in (even, best)]
    steps = [_predicted_s(model, layout) for layout in layouts]
    simulated = [_simulated_s(problem, each, job.layout.grad_accum) for each in (even, best)]
    return StageGain(
        job=job,
        even=layouts[0],
        best=layouts[1],
        predicted=steps[0] / steps[1] - 1.0,
        simulated=simulated[0] / simulated[1] - 1.0,
        gap=best.gap,
    )


def _predicted_s(model: CostModel, layout: ParallelLayout) -> float:
    return float(model.estimate(LayoutTable.of(layout)).step_time_s[0])


def _simulated_s(problem: StageProblem, assignment: StageAssignment, micro_batches: int) -> float:
    seconds = stage_seconds(problem, assignment.options)
    again = replace(problem, layer_s=problem.layer_s - problem.layer_s[..., -1:], fixed_s=np.zeros(problem.num_stages))
    once = seconds - stage_seconds(again, assignment.options)
    forward_s = FORWARD_SHARE * once
    return one_f_one_b_s(forward_s, seconds - forward_s, micro_batches)


def main() -> None:
    """Prints the table."""
    for job in JOBS:
        gain = stage_gain(job)
        if gain is None:
            print(f"{job.model}: even stages do not fit")
            continue
        print(
            f"{job.model} ({job.why}): {gain.predicted:.1%} predicted, {gain.simulated:.1%} simulated,"
            f" gap {gain.gap:.1%}\n    {gain.even.label()}\n    {gain.best.label()}"
        )


if __name__ == "__main__":
    main()
