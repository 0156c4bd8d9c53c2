from pathlib import Path

import pytest

from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.train.checkpoint_folder import (
    CheckpointRecord,
    check_same_model,
    clear_unfinished,
    latest_step,
    publish,
    step_folder,
    unfinished_folder,
)
from tests.train.jobs import tiny_architecture


def publish_step(run_dir: Path, step: int) -> None:
    unfinished_folder(run_dir, step).mkdir(parents=True)
    publish(run_dir, CheckpointRecord(step=step, architecture=tiny_architecture(), layout=ParallelLayout()))


def test_without_checkpoints_there_is_no_latest_step(tmp_path: Path) -> None:
    assert latest_step(tmp_path) is None


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (10, 20, 100):
        publish_step(tmp_path, step)
    assert latest_step(tmp_path) == 100
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["LATEST", "step-100", "step-20"]


def test_an_unfinished_checkpoint_does_not_count_and_is_cleared(tmp_path: Path) -> None:
    publish_step(tmp_path, 10)
    unfinished_folder(tmp_path, 20).mkdir()
    assert latest_step(tmp_path) == 10
    clear_unfinished(tmp_path)
    assert not unfinished_folder(tmp_path, 20).exists()


@pytest.mark.parametrize("content", ["", "step-", "step-30", "rubbish"])
def test_a_stale_pointer_is_overruled_by_what_is_there(tmp_path: Path, content: str) -> None:
    publish_step(tmp_path, 10)
    publish_step(tmp_path, 20)
    (tmp_path / "checkpoints" / "LATEST").write_text(content)
    assert latest_step(tmp_path) == 20


def test_publishing_a_step_again_replaces_it(tmp_path: Path) -> None:
    publish_step(tmp_path, 10)
    (step_folder(tmp_path, 10) / "old").touch()
    publish_step(tmp_path, 10)
    assert not (step_folder(tmp_path, 10) / "old").exists()


def test_only_the_shape_makes_another_model(tmp_path: Path) -> None:
    publish_step(tmp_path, 1)
    check_same_model(tmp_path, 1, tiny_architecture(name="renamed", source="elsewhere"))
    with pytest.raises(InputError, match="layers is 2, the plan has 3"):
        check_same_model(tmp_path, 1, tiny_architecture(layers=3))
