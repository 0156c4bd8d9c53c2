"""Plans and data sets small enough to train in a test."""

from pathlib import Path
from typing import Any

from glmplan.cost.estimate import Grade, MemoryBreakdown, StepEstimate, TimeBreakdown
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.plan.document import ClusterSummary, Option, Plan, Provenance, SearchSummary, write_plan
from glmplan.plan.request import PlanRequest
from glmplan.train.token_shards import Counts, Split, write_token_data_set
from glmplan.workload.job import TrainingJob
from tests.train.jobs import SyntheticTokens


def make_option(layout: ParallelLayout) -> Option:
    """``layout`` with an estimate that says nothing."""
    time = TimeBreakdown(**dict.fromkeys(TimeBreakdown.model_fields, 0.0))
    memory = MemoryBreakdown(**dict.fromkeys(MemoryBreakdown.model_fields, 0.0))
    numbers = dict.fromkeys(
        (
            "step_time_s",
            "step_time_low90_s",
            "step_time_high90_s",
            "tokens_per_s",
            "tokens_per_s_per_gpu",
            "mfu",
            "hfu",
        ),
        1.0,
    )
    sizes = {"model_flops": 1.0, "peak_memory_bytes": 1.0, "memory_capacity_bytes": 2.0}
    sizes |= {"peak_memory_low90_bytes": 1.0, "peak_memory_high90_bytes": 1.0}
    estimate = StepEstimate(**numbers, **sizes, memory=memory, time=time, grade=Grade.DATASHEET)
    return Option(layout=layout, estimate=estimate)


def make_plan(job: TrainingJob, *layouts: ParallelLayout, **changes: Any) -> Plan:
    """A plan for CPUs whose chosen layout is the first one."""
    fields: dict[str, Any] = {
        "request": PlanRequest(job=job, cluster="test-cluster", num_gpus=layouts[0].world_size, stack="glmplan"),
        "cluster": ClusterSummary(
            name="test-cluster",
            device="test-cpu",
            device_kind="cpu",
            devices_per_node=4,
            num_nodes=1,
            memory_capacity_bytes=2.0**30,
            peak_flops_per_s=1e9,
        ),
        "search": SearchSummary(considered=1, feasible=1, rejected={}, optimal=True, gap=0.0),
        "chosen": make_option(layouts[0]),
        "alternatives": tuple(make_option(layout) for layout in layouts[1:]),
        "provenance": Provenance(glmplan_version="0", profiles={}, seed=0, assumptions=()),
    }
    return Plan(**fields | changes)


def write_test_plan(path: Path, job: TrainingJob, *layouts: ParallelLayout, **changes: Any) -> Path:
    """``make_plan`` on disk."""
    write_plan(make_plan(job, *layouts, **changes), path)
    return path


def write_test_data(directory: Path, tokens: SyntheticTokens | None = None) -> Path:
    """A data set of synthetic tokens, a twentieth of them held out."""
    source = tokens or SyntheticTokens()
    held_out = source.num_tokens // 20
    splits: dict[Split, Counts] = {
        "train": source.window(0, source.num_tokens - held_out),
        "validation": source.window(source.num_tokens - held_out, held_out),
    }
    write_token_data_set(directory, splits, source.vocab_size)
    return directory
