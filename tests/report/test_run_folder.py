from pathlib import Path

import pytest

from glmplan.errors import DocumentError, InputError
from glmplan.report.run_folder import read_run, read_runs
from tests.report.sample_plan import sample_measurement, sample_plan, write_run


def test_a_run_is_read_with_its_steps_and_its_measurement(tmp_path: Path) -> None:
    plan = sample_plan()
    measurement = sample_measurement(plan, plan.chosen, step_time_s=8.5)
    run = read_run(write_run(tmp_path / "a", measurement, steps=7))
    assert run.name == "a"
    assert [step.step for step in run.steps] == list(range(1, 8))
    assert run.measurement == measurement


def test_a_run_that_goes_on_has_no_measurement_and_its_half_written_line_is_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", None, steps=3)
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 4, "lo')
    run = read_run(folder)
    assert run.measurement is None
    assert [step.step for step in run.steps] == [1, 2, 3]


def test_of_a_step_logged_again_after_a_resume_the_last_entry_counts(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", None, steps=3)
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 2, "loss": 1.5}\n')
    run = read_run(folder)
    assert [(step.step, step.loss) for step in run.steps][1] == (2, 1.5)
    assert len(run.steps) == 3


def test_runs_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    folders = tuple(write_run(tmp_path / parent / "run", None) for parent in ("a", "b", "c"))
    assert [run.name for run in read_runs(folders)] == ["run", "run (2)", "run (3)"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"step": 4, "loss": NaN}', "NaN is not a finite number"),
        ('{"step": 4, "loss"}', "line 4"),
        ('{"loss": 3.0}', "step: missing"),
        ('{"step": -1}', "greater than or equal to 0"),
        ("[1]", "expected a JSON object"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    folder = write_run(tmp_path / "a", None, steps=3)
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(DocumentError, match=r"metrics\.jsonl, line 4") as caught:
        read_run(folder)
    assert reason in str(caught.value)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither measurement\.json nor metrics\.jsonl"):
        read_run(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        read_run(tmp_path / "missing")
