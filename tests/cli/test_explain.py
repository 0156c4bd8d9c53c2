"""glmplan explain."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from glmplan.plan.document import write_plan
from tests.conftest import Outcome
from tests.plan.test_document import plan_of

Run = Callable[..., Outcome]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "plan.json"
    write_plan(plan_of(), target)
    return target


def test_sentences_are_the_same_in_every_format(run_glmplan: Run, path: Path) -> None:
    text = run_glmplan("explain", path).out.splitlines()
    data = json.loads(run_glmplan("explain", path, "--format", "json").out)
    assert data["schema_version"] == 1
    assert data["assumptions"]
    head = "Assumed, because nothing measured supports it:"
    assumed = [f"- {sentence}" for sentence in data["assumptions"]]
    assert text == [*data["sentences"], head, *assumed]
    marked = [f"- {sentence}" for sentence in data["sentences"]]
    assert run_glmplan("explain", path, "--format", "md").out.splitlines() == [*marked, "", head, "", *assumed]


def test_a_probe_looks_at_the_whole_space(run_glmplan: Run, path: Path) -> None:
    plain, probed = (run_glmplan("explain", path, *more, "--format", "json") for more in ((), ("--probe",)))
    assert probed.code == 0
    before, after = json.loads(plain.out), json.loads(probed.out)
    assert not before["surroundings"]["whole_space"]
    assert after["surroundings"]["whole_space"]
    assert after["sentences"][:4] == before["sentences"][:4]
    assert any("within a factor of two" in sentence for sentence in before["sentences"])
    assert "faster" in after["sentences"][-1]
    assert not any("within a factor of two" in sentence for sentence in after["sentences"])


def test_a_broken_plan_is_bad_input(run_glmplan: Run, path: Path) -> None:
    path.write_text(path.read_text()[:500])
    outcome = run_glmplan("explain", path)
    assert outcome.code == 2
    assert "plan.json" in outcome.err
    assert "truncated file?" in outcome.err
    folder = run_glmplan("explain", path.parent)
    assert folder.code == 2
    assert "is a folder; expected a file" in folder.err
