from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.probe.timing import (
    MAX_INNER,
    MAX_REPEATS,
    MIN_REPEATS,
    MIN_SAMPLE_S,
    sample_seconds,
    sampling_for,
    summary,
    time_call,
)

SECONDS = st.floats(min_value=1e-9, max_value=10)


@settings(deadline=None)
@given(call_s=SECONDS, budget_s=SECONDS)
def test_sampling_stays_in_its_limits_and_near_its_budget(call_s: float, budget_s: float) -> None:
    sampling = sampling_for(call_s, budget_s)
    assert 1 <= sampling.inner <= MAX_INNER
    assert MIN_REPEATS <= sampling.samples <= MAX_REPEATS
    least_s = MIN_REPEATS * max(2 * call_s, 2 * MIN_SAMPLE_S)
    assert sampling.samples * sampling.inner * call_s <= max(budget_s * (1 + 1e-9), least_s)


@settings(deadline=None)
@given(call_s=SECONDS, budget_s=SECONDS, factor=st.floats(min_value=1, max_value=100))
def test_a_larger_budget_never_means_fewer_samples(call_s: float, budget_s: float, factor: float) -> None:
    assert sampling_for(call_s, budget_s * factor).samples >= sampling_for(call_s, budget_s).samples


def test_a_short_call_is_looped_until_a_sample_is_long_enough() -> None:
    assert sampling_for(1e-5, 1.0).inner == 100
    assert sampling_for(1.0, 0.0).inner == 1


def test_the_summary_is_the_median_and_the_interquartile_range() -> None:
    timing = summary([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (timing.seconds, timing.samples) == (3.0, 5)
    assert timing.spread_fraction == (4.0 - 2.0) / 3.0
    assert summary([5.0]).spread_fraction == 0.0


def test_one_slow_sample_does_not_move_the_median() -> None:
    assert summary([1.0, 1.0, 50.0]).seconds == 1.0


def test_every_sample_is_enclosed_by_two_synchronisations() -> None:
    events: list[str] = []
    sample_seconds(lambda: events.append("call"), lambda: events.append("wait"), sampling_for(1.0, 0.0))
    assert events == ["wait", "call", "wait"] * MIN_REPEATS


def test_the_first_call_is_not_timed() -> None:
    calls: list[int] = []

    def slow_at_first() -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            sum(range(3_000_000))

    timing = time_call(slow_at_first, lambda: None, budget_s=0.01)
    assert timing.seconds < 1e-3
    assert len(calls) > timing.samples
