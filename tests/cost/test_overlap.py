"""What overlap leaves visible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmplan.cost.overlap import beside_compute_s, exposed_s, smooth_maximum

SECONDS = st.floats(0, 1e3)


@given(a=SECONDS, b=SECONDS)
def test_the_smooth_maximum_lies_just_above_the_maximum(a: float, b: float) -> None:
    value = float(smooth_maximum(a, b))
    assert max(a, b) <= value * (1 + 1e-12)
    assert value <= max(a, b) * 2 ** (1 / 6) * (1 + 1e-12)
    assert value == float(smooth_maximum(b, a))


@given(communication=SECONDS, hiding=SECONDS, share=st.floats(0, 1))
def test_exposure_lies_between_its_least_share_and_the_whole(communication: float, hiding: float, share: float) -> None:
    exposed = float(exposed_s(communication, hiding, share))
    assert communication * share <= exposed <= communication
    assert float(exposed_s(communication, 0.0, share)) == pytest.approx(communication)


@given(communication=SECONDS, hiding=SECONDS, more=SECONDS, share=st.floats(0, 1))
def test_more_compute_never_exposes_more(communication: float, hiding: float, more: float, share: float) -> None:
    assert exposed_s(communication, hiding + more, share) <= exposed_s(communication, hiding, share)


@given(communication=SECONDS, compute=SECONDS, more=SECONDS, share=st.floats(0, 0.9))
def test_what_runs_beside_compute_costs_at_most_itself_and_at_least_its_multiprocessors(
    communication: float, compute: float, more: float, share: float
) -> None:
    added = float(beside_compute_s(communication, compute, share))
    assert share * communication * (1 - 1e-9) <= added <= communication * (1 + 1e-9)
    assert float(beside_compute_s(communication, compute + more, share)) <= added * (1 + 1e-9) + 1e-9


def test_exchange_and_compute_end_together_where_the_exchange_is_as_long() -> None:
    """Beside 4 s of compute at 4/5 of its speed, 5 s of communication is hidden but for the fifth it takes."""
    assert float(beside_compute_s(5.0, 4.0, 0.2)) == pytest.approx(1.0)
    assert float(beside_compute_s(5.001, 4.0, 0.2)) == pytest.approx(1.001, rel=1e-6)
