"""`glmplan tune`: what it refuses before any run is started."""

from collections.abc import Callable
from pathlib import Path

import pytest

from glmplan.cli.tune import _seconds
from glmplan.errors import InputError
from tests.conftest import Outcome
from tests.tune.tiny import write_tiny_plan

Run = Callable[..., Outcome]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("10m", 600.0), ("1.5 h", 5400.0), ("2min", 120.0)])
def test_a_budget_is_a_duration(text: str, seconds: float) -> None:
    assert _seconds("--budget", text) == seconds


@pytest.mark.parametrize("text", ["10", "", "0s", "-5m", "ten minutes", "1e300h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--budget"):
        _seconds("--budget", text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--budget", "10"), "expected a duration"),
        (("--memory-limit", "8"), "expected a size"),
        (("--pairs", "2"), "3 or more"),
        (("--only", "thread"), "did you mean threads"),
        (("--storage", "study"), "expected a database URL"),
        (("--data", "/no/such/data"), "no data set"),
        (("--calibration", "/no/such.yaml"), "/no/such.yaml"),
    ],
)
def test_bad_input_is_one_line_and_starts_nothing(
    run_glmplan: Run, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    plan = write_tiny_plan(tmp_path / "plan.json")
    outcome = run_glmplan("tune", plan, "-o", tmp_path / "tuned.json", *options)
    assert outcome.code == 2, outcome.err
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "tuned.json").exists()
    assert not (tmp_path / "tuned-trials" / "trials").exists()


def test_a_plan_that_the_trainer_cannot_run_is_refused(run_glmplan: Run, tmp_path: Path) -> None:
    words = ["plan", "--model", "mixtral-8x7b", "--cluster", "dgx-h100-pod", "--gpus", "16", "--global-batch", "16"]
    path = tmp_path / "plan.json"
    assert run_glmplan(*words, "--seq-len", "4096", "-o", path).code == 0
    outcome = run_glmplan("tune", path, "-o", tmp_path / "tuned.json")
    assert outcome.code == 2
    assert "the trainer does not run" in outcome.err
