"""The published step times of Selene, predicted from the priors of the stack."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from glmplan.architecture.catalog import load_architecture
from glmplan.cost.estimate import StepEstimate
from glmplan.cost.step import cost_model
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Recompute, Schedule
from glmplan.layout.rules import Context, broken_rules
from glmplan.precision import Precision
from glmplan.software.catalog import load_stack
from glmplan.workload.job import TrainingJob
from tests.small_jobs import cluster_of

GOLDEN = Path(__file__).parents[1] / "golden" / "selene_step_times.csv"
A100_FP16_FLOPS_PER_S = 312e12


def runs() -> Iterator[dict[str, str]]:
    lines = [line for line in GOLDEN.read_text().splitlines() if not line.startswith("#")]
    yield from csv.DictReader(lines)


RUNS = {run["id"]: run for run in runs()}


def job_of_run(run: dict[str, str]) -> TrainingJob:
    arch = load_architecture(run["model"])
    assert arch.vocab == 51200
    return TrainingJob(architecture=arch, seq_len=2048, global_batch=int(run["global_batch"]), precision=Precision.FP16)


def predicted(run: dict[str, str]) -> StepEstimate:
    interleaved = int(run["virtual_stages"]) > 1
    layout = ParallelLayout(
        tp=int(run["tp"]),
        pp=int(run["pp"]),
        virtual_stages=int(run["virtual_stages"]),
        micro_batch=int(run["micro_batch"]),
        grad_accum=int(run["global_batch"]) // int(run["micro_batch"]),
        recompute=Recompute(run["recompute"]),
        schedule=Schedule.INTERLEAVED if interleaved else Schedule.ONE_F_ONE_B,
        sequence_parallel=run["sequence_parallel"] == "true",
    )
    job, stack, gpus = job_of_run(run), load_stack("megatron-lm-2022"), int(run["gpus"])
    context = Context(job=job, num_devices=gpus, support=stack.support, stack_name=stack.name)
    assert broken_rules(layout, context) == []
    return cost_model(job, cluster_of("selene", gpus), stack).estimate(LayoutTable.of(layout)).row(0)


@pytest.mark.parametrize("name", RUNS)
def test_a_published_step_time_is_met_within_15_percent(name: str) -> None:
    estimate, measured = predicted(RUNS[name]), float(RUNS[name]["step_time_s"])
    assert estimate.step_time_s == pytest.approx(measured, rel=0.15)
    assert estimate.peak_memory_bytes <= estimate.memory_capacity_bytes


def test_on_average_published_step_times_are_met_within_6_percent() -> None:
    errors = [predicted(run).step_time_s / float(run["step_time_s"]) - 1 for run in RUNS.values()]
    assert float(np.mean(np.abs(errors))) < 0.06


@pytest.mark.parametrize("name", [name for name, run in RUNS.items() if run["mfu"]])
def test_model_flops_over_the_published_time_are_the_published_mfu(name: str) -> None:
    """A second way to the MFU: our FLOPs, their time, the datasheet's peak."""
    run = RUNS[name]
    devices = int(run["gpus"])
    mfu = predicted(run).model_flops / float(run["step_time_s"]) / devices / A100_FP16_FLOPS_PER_S
    assert mfu == pytest.approx(float(run["mfu"]), rel=0.015)


def test_the_papers_method_is_predicted_to_be_faster_in_every_pair() -> None:
    """Table 5: full recomputation against sequence parallelism with selective recomputation, 29 to 32 % apart."""
    for model in ("22b", "175b", "530b", "1t"):
        full, selective = (RUNS[f"korthikanti2022-t5-{model}-{kind}"] for kind in ("full", "seqsel"))
        gain = predicted(full).step_time_s / predicted(selective).step_time_s
        published = float(full["step_time_s"]) / float(selective["step_time_s"])
        assert gain == pytest.approx(published, rel=0.12)
