"""Whole runs on the pool's processes: files, early stops, resumption, measurement."""

import json
from pathlib import Path
from typing import Any

import pytest

from glmplan.documents import read_json
from glmplan.layout.parallel_layout import ParallelLayout, Sharding
from glmplan.plan.measurement import Measurement
from glmplan.train.checkpoint_folder import latest_step
from glmplan.train.outcome import Outcome
from glmplan.train.run_record import Requested, design_run, read_run, write_run
from glmplan.train.stop_request import STOP_FILE, StopRequest, alive
from tests.train.documents import write_test_data, write_test_plan
from tests.train.jobs import CPU, tiny_job
from tests.train.worker_pool import WorkerPool

LAYOUTS = (
    ParallelLayout(micro_batch=8),
    ParallelLayout(dp=2, micro_batch=2, grad_accum=2, sharding=Sharding.FSDP, shard_group=2),
    ParallelLayout(tp=2, dp=2, micro_batch=4, sharding=Sharding.FSDP, shard_group=2, sequence_parallel=True),
)


def train_run(run_dir: Path, control: Path | None = None) -> Outcome:
    """What a worker does once it has joined its process group."""
    from glmplan.train.worker import train

    return train(read_run(run_dir), CPU, StopRequest(control), quiet=True)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    write_test_data(tmp_path / "data")
    write_test_plan(tmp_path / "plan.json", tiny_job(), *LAYOUTS)
    return tmp_path


def run(
    pool: WorkerPool, inputs: Path, name: str, *, resume: bool = False, control: Path | None = None, **requested: Any
) -> Outcome:
    request = Requested(**{"steps": 6, "warmup_steps": 2} | requested)
    designed = design_run(inputs / "plan.json", inputs / "data", inputs / name, request, resume=resume)
    write_run(designed)
    outcomes: list[Outcome] = pool.run(designed.layout.world_size, train_run, inputs / name, control)
    assert len({outcome.last_step for outcome in outcomes}) == 1
    return outcomes[0]


def losses(run_dir: Path) -> list[float]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]


def test_a_run_leaves_metrics_validation_checkpoint_and_measurement(pool: WorkerPool, inputs: Path) -> None:
    outcome = run(pool, inputs, "run", option=1, validate_every=3)
    assert outcome == Outcome(last_step=6)
    folder = inputs / "run"
    assert len(losses(folder)) == 6
    validations = [json.loads(line) for line in (folder / "validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in validations] == [3, 6]
    assert latest_step(folder) == 6
    assert not list(folder.rglob("*.part"))
    measurement = Measurement.model_validate(read_json(folder / "measurement.json").data)
    times = [json.loads(line)["step_time_s"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert measurement.measured.step_time_s == pytest.approx(sorted(times[2:])[1], rel=1.0)
    assert measurement.measured.step_time_s is not None
    speed = 8 * 16 / measurement.measured.step_time_s / 2
    assert measurement.measured.tokens_per_s_per_gpu == pytest.approx(speed)
    assert measurement.measured.peak_memory_gib is not None
    parameters = 2 * 96 * 32 + 32 + 2 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 64 + 2 * 32)
    assert measurement.measured.peak_memory_gib * 2**30 > 16 * parameters / 2
    assert measurement.hardware == {"gpu": "test-cpu", "gpus": 2, "gpus_per_node": 2, "cluster": "test-cluster"}
    assert measurement.layout["global_batch"] == 8
    assert measurement.software == "glmplan"


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(pool: WorkerPool, inputs: Path) -> None:
    run(pool, inputs, "whole", option=1)
    control = inputs / "control"
    control.mkdir()
    (control / STOP_FILE).touch()
    with alive(control):
        outcome = run(pool, inputs, "halves", option=1, control=control)
    assert outcome == Outcome(last_step=1, interrupted=True)
    assert not (inputs / "halves" / "measurement.json").exists()
    run(pool, inputs, "halves", option=1, resume=True)
    assert losses(inputs / "halves") == losses(inputs / "whole")


def test_a_run_killed_between_checkpoints_goes_on_from_the_last_one_with_another_layout(
    pool: WorkerPool, inputs: Path
) -> None:
    run(pool, inputs, "whole")
    run(pool, inputs, "moved", option=1, steps=4, checkpoint_every=2)
    (inputs / "moved" / "checkpoints" / "step-6.part").mkdir()
    with (inputs / "moved" / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 5, "loss": 1')
    run(pool, inputs, "moved", option=2, resume=True)
    assert losses(inputs / "moved") == pytest.approx(losses(inputs / "whole"), rel=2e-6)
    assert not list((inputs / "moved").rglob("*.part"))


def test_a_finished_run_has_nothing_left_to_do(pool: WorkerPool, inputs: Path) -> None:
    run(pool, inputs, "run", steps=2)
    outcome = run(pool, inputs, "run", steps=2, resume=True)
    assert outcome.message == "the run is at step 2 already"
    assert len(losses(inputs / "run")) == 2


def test_a_diverging_run_says_so_and_keeps_its_last_good_checkpoint(pool: WorkerPool, inputs: Path) -> None:
    with pytest.raises(RuntimeError, match=r"InputError: step \d+: the loss is .*lower --lr \(it is 1e\+30\)"):
        run(pool, inputs, "run", learning_rate=1e30, warmup_steps=0, checkpoint_every=1)
    step = latest_step(inputs / "run")
    assert step is not None
    assert len(losses(inputs / "run")) == step
