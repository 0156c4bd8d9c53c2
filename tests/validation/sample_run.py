"""A plan of the sample job, made by the planner, and a run of it."""

from pathlib import Path
from typing import Any

from glmplan.layout.choices import Choices
from glmplan.plan.document import Option, Plan, write_plan
from glmplan.plan.measurement import MeasuredValues, Measurement, write_measurement
from glmplan.plan.request import PlanRequest
from glmplan.search.planner import load_problem, make_plan
from tests.validation.records import inputs


def sample_plan(folder: Path) -> tuple[Plan, Path]:
    """A plan for eight A100, and its file."""
    request = PlanRequest(
        job=inputs().job,
        cluster="dgx-a100-pod",
        num_gpus=8,
        stack="megatron-core",
        choices=Choices(tp=(1, 2), pp=(1,), micro_batch=(1, 2)),
    )
    plan = make_plan(load_problem(request))
    path = folder / "plan.json"
    write_plan(plan, path)
    return plan, path


def write_run(folder: Path, plan: Plan, option: Option, **changes: Any) -> Path:
    """The folder of a run of ``option`` that took 10 % longer than planned; ``changes`` replace top-level fields."""
    estimate = option.estimate
    fields: dict[str, Any] = {
        "id": folder.name,
        "source": {"title": "own run", "where": "here", "ref": "", "year": 2026, "how": "glmplan train"},
        "software": plan.request.stack,
        "model": plan.request.job.architecture.model_dump(mode="json"),
        "seq_len": plan.request.job.seq_len,
        "hardware": {"gpu": "a100-sxm-80gb", "gpus": 8, "gpus_per_node": 8, "cluster": "dgx-a100-pod"},
        "layout": option.layout.model_dump(mode="json")
        | {"precision": "bf16", "compile": False, "optimizer": "adamw", "global_batch": plan.request.job.global_batch},
        "measured": MeasuredValues(
            step_time_s=1.1 * estimate.step_time_s,
            tokens_per_s_per_gpu=estimate.tokens_per_s_per_gpu / 1.1,
            peak_memory_gib=(estimate.peak_memory_bytes - estimate.memory.reserve_bytes) / 2.0**30 / 1.25,
        ),
    }
    folder.mkdir()
    write_measurement(Measurement(**(fields | changes)), folder / "measurement.json")
    return folder
