"""One job on growing numbers of devices."""

import pytest

from glmplan.errors import DoesNotFit, InputError
from glmplan.layout.choices import Choices
from glmplan.search.planner import load_problem, make_plan
from glmplan.search.scaling import scaling_curve
from glmplan.search.scaling_text import HEADERS, curve_record, scaling_rows, scaling_sentences
from tests.search.planned_jobs import request_of

COUNTS = [8, 16, 32]


def test_every_point_is_the_plan_of_its_size() -> None:
    curve = scaling_curve(request_of(), COUNTS, "weak")
    for point in curve.points:
        batch = 32 * point.num_gpus // 8
        plan = make_plan(load_problem(request_of(num_gpus=point.num_gpus, global_batch=batch)))
        assert point.option == plan.chosen
        assert point.global_batch == batch


def test_strong_scaling_keeps_the_batch_and_loses_more_than_weak() -> None:
    strong, weak = (scaling_curve(request_of(), COUNTS, mode) for mode in ("strong", "weak"))
    assert {point.global_batch for point in strong.points} == {32}
    assert strong.points[0] == weak.points[0]
    for one, other in zip(strong.points[1:], weak.points[1:], strict=True):
        efficiency, other_efficiency = strong.efficiency(one), weak.efficiency(other)
        assert efficiency is not None
        assert other_efficiency is not None
        assert efficiency < other_efficiency


def test_the_smallest_size_is_the_reference() -> None:
    curve = scaling_curve(request_of(), [32, 8, 8], "strong")
    assert [point.num_gpus for point in curve.points] == [8, 32]
    assert (curve.speedup(curve.points[0]), curve.efficiency(curve.points[0])) == (1.0, 1.0)
    speedup, efficiency = curve.speedup(curve.points[1]), curve.efficiency(curve.points[1])
    assert speedup is not None
    assert efficiency == pytest.approx(speedup / 4)


def test_a_size_on_which_nothing_fits_is_a_row_with_its_reason() -> None:
    data_only = Choices(tp=(1,), cp=(1,), pp=(1,))  # each device needs a sequence of its own
    broken = scaling_curve(request_of(global_batch=8, choices=data_only), [8, 16], "strong")
    assert broken.points[0].option is not None
    assert broken.points[1].option is None
    assert broken.efficiency(broken.points[1]) is None
    assert "nothing fits" in scaling_rows([broken])[1]
    assert any(sentence.startswith("On 16 GPUs ") for sentence in scaling_sentences([broken]))
    with pytest.raises(DoesNotFit, match="scale: nothing fits on any of 16, 32 GPUs"):
        scaling_curve(request_of(global_batch=8, choices=data_only), [16, 32], "strong")


@pytest.mark.parametrize(
    ("counts", "batch", "mode", "message"),
    [
        ([8, 12], 32, "strong", "12 is not a multiple of the 8 devices of a node"),
        ([8, 10**6], 32, "strong", "1000000 is more than the 16384"),
        ([16, 24], 9, "weak", "9 sequences on 16 GPUs are 13.5 on 24 in weak scaling"),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_anything_is_planned(
    counts: list[int], batch: int, mode: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        scaling_curve(request_of(global_batch=batch), counts, "weak" if mode == "weak" else "strong")


def test_rows_sentences_and_records_hold_every_point() -> None:
    curve = scaling_curve(request_of(), COUNTS, "strong")
    rows = scaling_rows([curve])
    assert [len(row) for row in rows] == [len(HEADERS)] * len(COUNTS)
    points = curve_record(curve)["points"]
    assert isinstance(points, list)
    assert [point["num_gpus"] for point in points] == COUNTS
    assert scaling_sentences([curve])[0].startswith("Strong scaling from 8 to 32 GPUs (4 times as many) trains ")
