"""What overlap leaves visible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmplan.cost.overlap import exposed_s, smooth_maximum

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
