"""The committed accuracy record: it agrees with itself, and the cost model is no worse than it says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glmplan.validation.accuracy import errors_of
from glmplan.validation.bench import Bench
from glmplan.validation.case import CaseInputs, Skipped
from glmplan.validation.record import constant_hfu_errors, prior_record
from glmplan.validation.record_set import cause_of, members_of, record_sets
from glmplan.validation.record_text import record_markdown
from tests.validation.records import inputs, measurement

REPORTS = Path(__file__).parents[2] / "reports"
WORSE = 1.1
"""A tenth, relative."""
ROUNDING = 0.0005


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((REPORTS / "accuracy.json").read_text(encoding="utf-8"))
    return document


def test_the_committed_page_is_made_from_the_committed_figures(committed: dict[str, Any]) -> None:
    assert record_markdown(committed) == (REPORTS / "accuracy.md").read_text(encoding="utf-8")


def test_no_set_is_a_tenth_worse_than_the_committed_record(
    committed: dict[str, Any], published_inputs: list[CaseInputs | Skipped]
) -> None:
    now = prior_record(Bench([item for item in published_inputs if isinstance(item, CaseInputs)]))
    before = {row["set"]: row["prior"]["mape"] for row in committed["time"] if row["cases"]}
    assert now.keys() == before.keys()
    worse = {
        name: (before[name], errors["mape"])
        for name, errors in now.items()
        if errors["mape"] > before[name] * WORSE + ROUNDING
    }
    assert not worse, f"set: (committed, now): {worse}; if it is meant, run make reports"


def test_the_intervals_hold_for_sources_that_did_not_make_them(committed: dict[str, Any]) -> None:
    rows = [*committed["intervals"]["step_time"], *committed["intervals"]["memory"]]
    wholes = {row["grade"]: row for row in committed["intervals"]["step_time"] if row["kind"] == "all"}
    assert wholes.keys() == {"calibrated", "transferred", "datasheet"}
    for row in wholes.values():
        assert 0.88 <= row["inside"] <= 0.96
        assert row["inside_new_source"] >= 0.8
    assert all(row["inside"] >= 0.88 for row in rows)


def test_the_floor_of_repeated_runs_is_below_the_error_of_the_fit(committed: dict[str, Any]) -> None:
    whole = next(row for row in committed["repeats"] if row["set"] == "all")
    assert whole["runs"] > whole["groups"] >= 50
    assert 0 < whole["floor"] < whole["fitted"]
    assert whole["spread_median"] <= whole["spread_largest"]


def test_averages_count_reruns_once() -> None:
    found = errors_of(["a", "a", "b"], np.array([0.1, 0.3, -0.4]))
    assert (found["mape"], found["bias"], found["worst"]) == (0.3, -0.1, 0.4)


def test_one_constant_efficiency_is_exact_for_like_runs() -> None:
    cases = [inputs(id="a"), inputs(id="b", layout__global_batch=128)]
    assert constant_hfu_errors(cases, np.array([1.0, 2.0])) == pytest.approx([0.0, 0.0])


def test_every_set_of_the_record_names_published_cases(published_inputs: list[CaseInputs | Skipped]) -> None:
    records = [item.measurement for item in published_inputs if isinstance(item, CaseInputs)]
    for chosen in (*record_sets("time"), *record_sets("memory")):
        assert members_of(chosen, records).any(), chosen.name


def test_a_cause_is_given_only_where_one_is_known() -> None:
    assert cause_of(measurement()) == ""
    assert "figure" in cause_of(measurement(id="nanotron-80.0b-n8"))
