"""How far the shipped cost model, with no fit to these runs, is off on runs that others published."""

import numpy as np
import pytest

from glmplan.software.catalog import load_stack
from glmplan.validation.case import CaseInputs, Skipped
from glmplan.validation.estimator import CostModelEstimator
from glmplan.validation.predict import predict_step_times

# Korthikanti 2022, arXiv:2205.05198, table 5: seconds of a step with full recomputation, and with selective
# recomputation and sequence parallelism, on Selene.
SELENE = {
    "korthikanti2022-t5-22b-full": 1.42,
    "korthikanti2022-t5-22b-seqsel": 1.10,
    "korthikanti2022-t5-175b-full": 18.13,
    "korthikanti2022-t5-175b-seqsel": 13.75,
    "korthikanti2022-t5-530b-full": 49.05,
    "korthikanti2022-t5-530b-seqsel": 37.83,
    "korthikanti2022-t5-1t-full": 94.42,
    "korthikanti2022-t5-1t-seqsel": 71.49,
}


def test_selene_step_times_are_predicted_within_15_percent(published_inputs: list[CaseInputs | Skipped]) -> None:
    cases = [item for item in published_inputs if isinstance(item, CaseInputs) and item.id in SELENE]
    assert {case.id: case.time.step_time_s for case in cases if case.time} == SELENE
    times = predict_step_times(cases, load_stack("megatron-lm-2022"), CostModelEstimator())
    errors = {case.id: float(t) / SELENE[case.id] - 1 for case, t in zip(cases, times, strict=True)}
    assert errors == pytest.approx(dict.fromkeys(SELENE, 0.0), abs=0.15)


def test_a_kept_cost_model_gives_what_a_new_one_gives(published_inputs: list[CaseInputs | Skipped]) -> None:
    cases = [item for item in published_inputs if isinstance(item, CaseInputs) and item.id in SELENE][:3]
    kept = CostModelEstimator()
    prior = load_stack("megatron-lm-2022")
    predict_step_times(cases, prior, kept)
    moved = prior.with_constants({"host_launch_s": 2e-5, "matmul_time_factor": 1.4})
    again = predict_step_times(cases, moved, kept)
    assert np.allclose(again, predict_step_times(cases, moved, CostModelEstimator()), rtol=1e-12)
