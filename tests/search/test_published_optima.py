"""Layouts that another planner found best are in the space, and none is faster than the one chosen here.

Calculon (Isaev 2023, SC '23, doi 10.1145/3581784.3607102), its own search run on these jobs: A100 80 GB, 2,048 tokens.
Batches: 1,536 for GPT-3 175B as there; one sequence a device for the others, which its micro-batches divide.
"""

import itertools
from typing import Any

import pytest

from glmplan.architecture.catalog import load_architecture
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Recompute, Schedule, Sharding
from glmplan.layout.rules import broken_rules
from glmplan.plan.request import PlanRequest
from glmplan.search.planner import best_option, load_problem
from glmplan.workload.job import TrainingJob

ALL = tuple(Recompute)


@pytest.mark.parametrize(
    ("model", "gpus", "batch", "degrees", "recomputes"),
    [
        ("gpt3-175b", 1024, 1536, {"tp": 8, "pp": 4, "dp": 32, "virtual_stages": 8}, ALL),
        ("megatron-530b", 2520, 2520, {"tp": 8, "pp": 5, "dp": 63, "virtual_stages": 21}, (Recompute.SELECTIVE,)),
        ("megatron-1t", 3072, 3072, {"tp": 8, "pp": 16, "dp": 24, "virtual_stages": 8}, (Recompute.SELECTIVE,)),
    ],
)
def test_the_chosen_layout_is_no_slower_than_calculons(
    model: str, gpus: int, batch: int, degrees: dict[str, Any], recomputes: tuple[Recompute, ...]
) -> None:
    job = TrainingJob(architecture=load_architecture(model), seq_len=2048, global_batch=batch)
    problem = load_problem(PlanRequest(job=job, cluster="dgx-a100-pod", num_gpus=gpus, stack="megatron-core"))
    best = best_option(problem)
    assert best is not None
    theirs = [
        ParallelLayout(
            **degrees,
            micro_batch=2,
            grad_accum=batch // degrees["dp"] // 2,
            schedule=Schedule.INTERLEAVED,
            sharding=sharding,
            shard_group=1 if sharding is Sharding.NONE else degrees["dp"],
            recompute=recompute,
            sequence_parallel=sequence_parallel,
        )
        for sharding, recompute, sequence_parallel in itertools.product(
            (Sharding.NONE, Sharding.ZERO1, Sharding.FSDP), recomputes, (False, True)
        )
    ]
    assert all(not broken_rules(layout, problem.context) for layout in theirs)
    seconds = problem.model.estimate(LayoutTable.of(*theirs)).step_time_s  # whether they fit or not
    assert best.estimate.step_time_s <= seconds.min()
