"""Predictions with all that was measured on a generation taken away."""

import numpy as np
import pytest

from glmplan.cost.estimate import Grade
from glmplan.cost.grade import generation_of, grade_of, lender_of
from glmplan.hardware.catalog import load_cluster, load_device
from glmplan.software.catalog import load_stack
from glmplan.validation.bench import Bench
from glmplan.validation.group_calibration import cross_calibrated_s
from glmplan.validation.held_out import labels_of
from glmplan.validation.withheld_device import LENDERS, withheld, withheld_step_times_s
from tests.validation.records import inputs


@pytest.mark.parametrize("generation", list(LENDERS))
def test_the_lender_is_measured_and_of_another_generation(generation: str) -> None:
    assert generation_of(load_device(LENDERS[generation]).architecture) != generation


@pytest.mark.parametrize("name", ["dgx-h100-pod", "dgx-b300-pod", "dgx-a100-pod", "mi300x-cluster"])
def test_a_withheld_device_is_graded_datasheet_and_keeps_its_datasheet(name: str) -> None:
    cluster = load_cluster(name)
    bare = withheld(cluster)
    assert grade_of(bare, load_stack("megatron-core")) is Grade.DATASHEET
    assert lender_of(bare.measured) not in (None, cluster.device.name)
    assert bare.device.peak_flops == cluster.device.peak_flops
    assert (bare.device.figures, bare.compute_derate, bare.matmul_derate) == ({}, 1.0, 1.0)


def runs(count: int) -> Bench:
    return Bench(
        [
            inputs(
                id=f"r{i}", configuration=f"r{i}", layout__global_batch=64 * (i + 1), measured={"step_time_s": i + 1.0}
            )
            for i in range(count)
        ]
    )


def test_withheld_times_differ_from_those_with_tables_and_doubtful_cases_have_none() -> None:
    sure = inputs(id="a", configuration="a", measured={"step_time_s": 1.0})
    doubtful = inputs(id="b", configuration="b", measured={"step_time_s": 2.0}, suspect="slower than its series")
    bench = Bench([sure, doubtful])
    seconds = withheld_step_times_s(bench, labels_of(bench))
    assert np.isfinite(seconds[0])
    assert np.isnan(seconds[1])
    assert seconds[0] != pytest.approx(bench.prior_s[0], rel=1e-3)
    assert seconds[0] == pytest.approx(bench.prior_s[0], rel=0.6)


def test_calibrations_are_crossed_only_where_there_are_enough_runs_to_make_one() -> None:
    few, many = runs(5), runs(8)
    assert np.isnan(cross_calibrated_s(few, labels_of(few))).all()
    crossed = cross_calibrated_s(many, labels_of(many))
    assert np.isfinite(crossed).all()
    # measured in proportion to the batch: the other folds tell the level
    before = np.abs(many.prior_s / many.measured_s - 1).mean()
    assert np.abs(crossed / many.measured_s - 1).mean() < before
