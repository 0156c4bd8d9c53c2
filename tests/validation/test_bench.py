"""The bench gives what the estimator gives, for any constants."""

from collections.abc import Sequence

import numpy as np
import pytest

from glmplan.software.catalog import load_stack
from glmplan.validation.bench import Bench, shifted
from glmplan.validation.case import CaseInputs
from glmplan.validation.estimator import CostModelEstimator
from glmplan.validation.predict import predict_step_times
from tests.validation.records import inputs


@pytest.fixture(scope="module")
def cases() -> list[CaseInputs]:
    return [
        inputs(id="a"),
        inputs(id="b", layout__tp=4, layout__dp=2),
        inputs(id="c", model__layers=48, model__params_b=None),
        inputs(id="d", layout__global_batch=60, layout__grad_accum=4),
        inputs(id="e", measured={"peak_memory_gib": 20.0}),
    ]


def expected(cases: Sequence[CaseInputs], shifts: dict[str, float]) -> list[float]:
    stack = shifted(load_stack(cases[0].stack), shifts)
    return [float(s) for s in predict_step_times(cases, stack, CostModelEstimator())]


def test_shifted_constants_give_what_the_estimator_gives(cases: list[CaseInputs]) -> None:
    bench = Bench(cases)
    shifts = {"matmul_time_factor": 0.2, "fixed_step_s": -0.3, "host_launch_s": 0.5}
    assert [case.id for case in bench.cases] == ["a", "b", "c", "d"]
    assert bench.prior_s == pytest.approx(expected(bench.cases, {}))
    assert bench.step_times_s(np.array([3, 0]), shifts) == pytest.approx(
        expected([bench.cases[3], bench.cases[0]], shifts)
    )


def test_a_stated_cuda_graph_takes_the_host_away() -> None:
    eager = inputs(id="eager", model__hidden=1024, model__ffn_hidden=4096, model__head_dim=64, model__params_b=None)
    graphed = inputs(
        id="graphed", model__hidden=1024, model__ffn_hidden=4096, model__head_dim=64, model__params_b=None,
        cuda_graph="full", layout__micro_batch=1, layout__global_batch=64,
    )  # fmt: skip
    plain = inputs(
        id="plain", model__hidden=1024, model__ffn_hidden=4096, model__head_dim=64, model__params_b=None,
        layout__micro_batch=1, layout__global_batch=64,
    )  # fmt: skip
    bench = Bench([eager, graphed, plain])
    assert bench.prior_s[1] < bench.prior_s[2]


def test_slopes_are_the_share_of_what_a_constant_scales(cases: list[CaseInputs]) -> None:
    bench = Bench(cases)
    assert bench.slopes("machine_derate") == pytest.approx(1.0)
    matmul = bench.slopes("matmul_time_factor")
    assert np.all((matmul > 0) & (matmul < 1))


def test_the_largest_parts_come_first_and_are_shares(cases: list[CaseInputs]) -> None:
    parts = list(Bench(cases).largest_parts(0).values())
    assert parts == sorted(parts, reverse=True)
    assert 0 < sum(parts) <= 1.02
