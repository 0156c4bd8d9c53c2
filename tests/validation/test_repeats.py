"""Runs of equal inputs: what no predictor of these inputs can hit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from glmplan.validation.bench import Bench
from glmplan.validation.held_out import Columns, Labels, labels_of
from glmplan.validation.repeats import equal_inputs, inputs_of, repeat_rows, spread_of, spreads
from tests.validation.records import inputs


def bench() -> Bench:
    """Three runs of one layout in two containers, one of another batch, one doubtful."""
    runs: tuple[tuple[str, float, dict[str, Any]], ...] = (
        ("a", 1.0, {}),
        ("b", 1.2, {}),
        ("c", 1.1, {}),
        ("d", 5.0, {"layout__global_batch": 128}),
    )
    cases = [
        inputs(id=name, configuration=name, measured={"step_time_s": seconds}, **changes)
        for name, seconds, changes in runs
    ]
    doubtful = inputs(id="e", configuration="e", measured={"step_time_s": 9.0}, suspect="slower than its series")
    # equal clusters are one object in a case file's inputs, but the key must not rest on that
    return Bench([*cases, doubtful])


def columns(found: Bench, seconds: float) -> Columns:
    flat = np.full(len(found.cases), seconds)
    return Columns(prior_s=flat, fitted_s=flat, unseen_s=flat, ranked_s=flat, basis=("preset",) * len(found.cases))


@pytest.fixture
def found() -> Bench:
    return bench()


@pytest.fixture
def labels(found: Bench) -> Labels:
    return labels_of(found)


def test_runs_are_equal_when_the_cost_model_cannot_tell_them_apart(found: Bench) -> None:
    a, b, _, other, _ = found.cases
    assert inputs_of(a) == inputs_of(b)
    assert inputs_of(a) != inputs_of(other)
    assert inputs_of(a) != inputs_of(replace(a, stack="torchtitan"))


def test_doubtful_runs_make_no_spread(found: Bench, labels: Labels) -> None:
    assert spreads(found, labels) == {0: pytest.approx(0.2), 1: pytest.approx(0.2), 2: pytest.approx(0.2)}


def test_a_spread_is_the_slowest_over_the_fastest(found: Bench) -> None:
    (group,) = equal_inputs(found, [0, 1, 2, 3])
    assert group.tolist() == [0, 1, 2]
    assert spread_of(found, group) == pytest.approx(0.2)
    assert equal_inputs(found, [0, 3]) == []


def test_the_floor_is_what_the_median_of_the_group_leaves(found: Bench, labels: Labels) -> None:
    row = next(row for row in repeat_rows(found, labels, columns(found, 1.3)) if row["set"] == "all")
    assert (row["groups"], row["runs"], row["largest"]) == (1, 3, ["a", "b"])
    assert row["floor"] == pytest.approx((0.1 / 1.0 + 0.1 / 1.2 + 0.0) / 3, rel=1e-3)
    assert row["fitted"] == pytest.approx((0.3 / 1.0 + 0.1 / 1.2 + 0.2 / 1.1) / 3, rel=1e-3)
    assert row["floor"] < row["fitted"]


def test_no_row_where_nothing_is_repeated(found: Bench, labels: Labels) -> None:
    alone = Bench([found.cases[0], found.cases[3]])
    assert repeat_rows(alone, labels_of(alone), columns(alone, 1.0)) == []
