"""The arithmetic of errors, on numbers made by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.validation.accuracy import accuracy, rankings, spearman, summary
from tests.validation.records import comparison


def test_averages_of_four_errors() -> None:
    found = accuracy(
        [comparison(str(i), measured=1.0, predicted=1.0 + e) for i, e in enumerate((0.1, -0.2, 0.3, -0.4))]
    )
    assert found.mape == pytest.approx(0.25)
    assert found.median == pytest.approx(0.25)
    assert found.p90 == pytest.approx(0.37)
    assert found.bias == pytest.approx(-0.05)
    assert found.worst[0] == ("3", pytest.approx(-0.4))
    assert len(found.worst) == 3
    # The interval is 10 % around the prediction: 1.1 +- 0.11 and none of the others holds 1.
    assert found.coverage == pytest.approx(0.25)


def test_runs_of_one_configuration_count_once() -> None:
    again = [comparison(f"again-{i}", measured=1.0, predicted=1.5, configuration="same") for i in range(9)]
    found = accuracy([*again, comparison("other", measured=1.0, predicted=1.1)])
    assert (found.cases, found.configurations) == (10, 2)
    assert found.mape == pytest.approx(0.3)


def test_without_intervals_there_is_no_coverage() -> None:
    assert accuracy([comparison("a", measured=1.0, predicted=1.0, low90=None, high90=None)]).coverage is None


def test_a_sweep_is_ranked_and_its_regret_is_what_the_pick_loses() -> None:
    measured, predicted = (1.0, 2.0, 3.0, 4.0), (2.0, 1.0, 3.0, 4.0)
    items = [
        comparison(str(i), measured=m, predicted=p, sweep="s")
        for i, (m, p) in enumerate(zip(measured, predicted, strict=True))
    ]
    (found,) = rankings(items)
    assert found.spread == pytest.approx(4.0)
    assert found.spearman == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    assert found.regret == pytest.approx(0.5)  # the pick takes 2 s where 1 s was possible
    assert found.tells


def test_re_runs_of_one_configuration_are_one_run_of_a_sweep() -> None:
    again = [comparison(f"again-{i}", measured=1.0 + i, predicted=2.0, configuration="c0", sweep="s") for i in range(3)]
    others = [
        comparison(f"c{i}", measured=2.0 + i, predicted=2.0 + i, configuration=f"c{i}", sweep="s") for i in range(1, 4)
    ]
    (found,) = rankings([*again, *others])
    assert found.cases == 4
    assert found.regret == 0.0


def test_short_sweeps_and_flat_ones_do_not_tell() -> None:
    assert rankings([comparison(str(i), measured=1.0 + i, predicted=1.0, sweep="s") for i in range(3)]) == []
    flat = [comparison(str(i), measured=1.0 + 0.01 * i, predicted=1.0, sweep="s") for i in range(4)]
    assert not rankings(flat)[0].tells
    assert summary(flat)["ranking"]["sweeps"] == 0


def test_memory_and_time_are_apart_and_doubtful_cases_stay_out_of_the_headline() -> None:
    items = [
        comparison("a", measured=1.0, predicted=1.1),
        comparison("b", measured=1.0, predicted=2.0, trusted=False),
        comparison("c", measured=1.0, predicted=1.5, quantity="peak_memory_gib", tokens_per_s_per_gpu=None),
    ]
    found = summary(items)
    assert found["time"]["trusted"]["mape"] == pytest.approx(0.1)
    assert found["time"]["all"]["mape"] == pytest.approx(0.55)
    assert found["memory"]["trusted"]["mape"] == pytest.approx(0.5)
    assert [group["trusted"] for group in found["time"]["groups"] if group["by"] == "device"] == [True, False]


def test_an_empty_set_has_no_figures() -> None:
    assert summary([])["time"]["all"] is None


def test_spearman_shares_the_rank_of_ties() -> None:
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: cov 1.125, sd sqrt(1.125) and sqrt(1.25).
    assert spearman(np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(
        1.125 / np.sqrt(1.125 * 1.25)
    )
    assert spearman(np.array([1.0, 1.0]), np.array([1.0, 2.0])) == 0.0


@given(st.lists(st.floats(0.1, 100.0), min_size=2, max_size=20, unique=True), st.floats(0.1, 3.0))
@settings(deadline=None)
def test_a_monotone_change_of_scale_keeps_the_rank_correlation(values: list[float], power: float) -> None:
    a = np.array(values)
    assert spearman(a, np.round(a, 6) ** power) == pytest.approx(spearman(a, np.round(a, 6)))
