"""Tiny plans for CPUs, and a tuner's study with made-up runs."""

from pathlib import Path

from glmplan.architecture.transformer import Architecture
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.plan.document import Plan, write_plan
from glmplan.plan.measurement import MeasuredValues, Measurement
from glmplan.plan.request import PlanRequest
from glmplan.precision import Precision
from glmplan.search.planner import load_problem, plan_of_layout
from glmplan.workload.job import TrainingJob


def tiny_plan(layout: ParallelLayout | None = None, *, vocab: int = 256, batch: int = 8, **fields: object) -> Plan:
    """A planned two-layer model on the catalogue's CPU cluster."""
    layout = layout or ParallelLayout(micro_batch=batch)
    architecture = Architecture(
        name="tiny", layers=2, hidden=32, heads=4, kv_heads=4, head_dim=8, ffn_hidden=64, vocab=vocab
    )
    job = TrainingJob(architecture=architecture, seq_len=32, global_batch=batch, precision=Precision.FP32)
    request = PlanRequest(job=job, cluster="laptop-cpu", num_gpus=layout.world_size, stack="glmplan")
    return plan_of_layout(load_problem(request), layout).model_copy(update=fields)


def write_tiny_plan(path: Path, layout: ParallelLayout | None = None, **options: int) -> Path:
    """``tiny_plan`` on disk."""
    write_plan(tiny_plan(layout, **options), path)
    return path


def measurement(step_time_s: float) -> Measurement:
    """A run's measurement without its inputs."""
    return Measurement(
        id="made up",
        source={},
        software="glmplan",
        model={},
        hardware={},
        layout={},
        measured=MeasuredValues(step_time_s=step_time_s),
    )
