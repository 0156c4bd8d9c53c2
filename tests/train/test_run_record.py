"""Everything that is wrong with a request is found before anything is written."""

from pathlib import Path
from typing import Any

import pytest

from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.train.checkpoint_folder import CheckpointRecord, publish, unfinished_folder
from glmplan.train.run_record import Requested, TrainingRun, design_run, read_run, withdraw_run, write_run
from tests.train.documents import write_test_data, write_test_plan
from tests.train.jobs import SyntheticTokens, tiny_architecture, tiny_job


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return write_test_data(tmp_path / "data")


@pytest.fixture
def plan_path(tmp_path: Path) -> Path:
    layouts = (ParallelLayout(micro_batch=8), ParallelLayout(micro_batch=4, grad_accum=2))
    return write_test_plan(tmp_path / "plan.json", tiny_job(), *layouts)


def design(tmp_path: Path, *, resume: bool = False, **requested: Any) -> TrainingRun:
    request = Requested(**{"steps": 10} | requested)
    return design_run(tmp_path / "plan.json", tmp_path / "data", tmp_path / "run", request, resume=resume)


def test_a_written_run_reads_back(tmp_path: Path, plan_path: Path, data_dir: Path) -> None:
    run = design(tmp_path, option=1, seed=3, learning_rate=0.01)
    write_run(run)
    assert read_run(tmp_path / "run") == run
    assert run.layout.grad_accum == 2
    assert (run.settings.seed, run.settings.learning_rate) == (3, 0.01)


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ({"steps": 0}, "steps: must be 1 or more; got 0"),
        ({"option": 2}, "alternatives 1 to 1"),
        ({"option": -1}, "alternatives 1 to 1"),
        ({"seed": -1}, "seed: must be 0 or more"),
        ({"learning_rate": 0.0}, "learning rate: must be positive"),
        ({"learning_rate": float("nan")}, "learning rate: must be positive"),
        ({"warmup_steps": -1}, "warmup_steps: must be 0 or more"),
        ({"checkpoint_every": -5}, "checkpoint_every: must be 0 or more"),
    ],
)
def test_a_wrong_setting_is_refused_and_nothing_written(
    tmp_path: Path, plan_path: Path, data_dir: Path, requested: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        design(tmp_path, **requested)
    assert not (tmp_path / "run").exists()


def test_a_larger_vocabulary_than_the_models_is_refused(tmp_path: Path, plan_path: Path) -> None:
    write_test_data(tmp_path / "data", SyntheticTokens(vocab=97))
    with pytest.raises(InputError, match="97 tokens is larger than the model's vocab 96"):
        design(tmp_path)


def test_a_folder_without_data_is_refused(tmp_path: Path, plan_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="no data set"):
        design(tmp_path)


def test_a_second_run_in_the_same_folder_needs_resume(tmp_path: Path, plan_path: Path, data_dir: Path) -> None:
    write_run(design(tmp_path))
    with pytest.raises(InputError, match="already holds a run; use --resume"):
        design(tmp_path)
    assert design(tmp_path, resume=True).resumed_from == 0


def test_a_resumed_run_keeps_its_settings_unless_told_otherwise(
    tmp_path: Path, plan_path: Path, data_dir: Path
) -> None:
    write_run(design(tmp_path, seed=5, learning_rate=0.02, checkpoint_every=4))
    settings = design(tmp_path, resume=True, steps=20, checkpoint_every=2).settings
    assert (settings.seed, settings.learning_rate, settings.checkpoint_every) == (5, 0.02, 2)
    with pytest.raises(InputError, match="started with 5 and cannot go on with 6"):
        design(tmp_path, resume=True, seed=6)


def test_resuming_with_another_model_names_the_field(tmp_path: Path, plan_path: Path, data_dir: Path) -> None:
    write_run(design(tmp_path))
    unfinished_folder(tmp_path / "run", 5).mkdir(parents=True)
    other = tiny_architecture(hidden=64)
    publish(tmp_path / "run", CheckpointRecord(step=5, architecture=other, layout=ParallelLayout()))
    with pytest.raises(InputError, match="another model: hidden is 64, the plan has 32"):
        design(tmp_path, resume=True)


def test_the_rate_does_not_depend_on_the_number_of_steps(tmp_path: Path, plan_path: Path, data_dir: Path) -> None:
    short, longer = design(tmp_path, steps=10).settings, design(tmp_path, steps=500).settings
    assert short.decay_steps == longer.decay_steps
    assert short.learning_rate == longer.learning_rate == 1e-3


def test_withdrawing_a_run_leaves_what_was_there_before(tmp_path: Path, plan_path: Path, data_dir: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").write_bytes(plan_path.read_bytes())
    (tmp_path / "run" / "mine.txt").touch()
    run = design(tmp_path)
    withdraw_run(run, write_run(run))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["mine.txt", "plan.json"]
