"""Fits over several machines, from cases whose law is planted."""

from dataclasses import replace

import numpy as np
import pytest

from glmplan.validation.bench import Bench
from glmplan.validation.case import CaseInputs
from glmplan.validation.held_out import after_one_step, columns_of, labels_of
from glmplan.validation.shared_fit import fit_shared
from tests.validation.records import inputs

SHIFTS = {"matmul_time_factor": 0.08, "elementwise_traffic_factor": 0.4}


def runs(source: str, level: float) -> list[CaseInputs]:
    """Runs of one source whose machine is ``level`` slower, in logarithm."""
    cases = [
        inputs(
            id=f"{source}-{layers}-{tp}-{batch}",
            configuration=f"{source}-{layers}-{tp}-{batch}",
            source={"title": source, "ref": source, "year": 2026, "how": "table"},
            model__layers=layers, model__params_b=None, layout__tp=tp, layout__dp=8 // tp,
            layout__micro_batch=batch, layout__global_batch=64, measured={"step_time_s": 30.0},
        )
        for layers in (12, 24)
        for tp in (1, 2, 4)
        for batch in (1, 4)
    ]  # fmt: skip
    bench = Bench(cases)
    seconds = bench.step_times_s(np.arange(len(cases)), SHIFTS) * np.exp(level)
    return [
        replace(case, time=replace(case.time, measured=float(s), step_time_s=float(s)))  # type: ignore[type-var]
        for case, s in zip(cases, seconds, strict=True)
    ]


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench([*runs("one/x", -0.1), *runs("two/y", 0.1), *runs("three/z", 0.0)])


def test_levels_of_machines_stay_out_of_the_constants(bench: Bench) -> None:
    labels = labels_of(bench)
    everything = np.arange(len(bench.cases))
    fit = fit_shared(bench, everything, labels.machines, labels.weights)
    found = fit.step_times_s(bench, everything, labels.machines)
    assert np.abs(found / bench.measured_s - 1).max() < 0.03
    first, second = (fit.levels[next(m for m in fit.levels if m.startswith(name))] for name in ("one/x", "two/y"))
    assert second - first == pytest.approx(0.2, abs=0.03)


def test_an_unseen_source_gets_constants_but_no_level(bench: Bench) -> None:
    labels = labels_of(bench)
    columns = columns_of(bench, labels)
    third = np.array([source == "three/z" for source in labels.sources])
    prior, unseen, fitted = (
        np.abs(seconds[third] / bench.measured_s[third] - 1).mean()
        for seconds in (columns.prior_s, columns.unseen_s, columns.fitted_s)
    )
    assert set(columns.basis) == {"stack"}
    assert fitted < unseen < prior


def test_one_measured_step_finds_a_level() -> None:
    predicted, measured = np.ones(4), np.full(4, 1.6)
    found = after_one_step(predicted, measured, np.ones(4))
    assert np.all(found < 0.03)
    assert np.isnan(after_one_step(predicted[:1], measured[:1], np.ones(1))).all()


def test_doubtful_cases_are_not_learnt_from() -> None:
    trusted = runs("one/x", 0.0)
    doubtful = [
        replace(case, measurement=case.measurement.model_copy(update={"id": f"d{i}", "suspect": "slow node"}),
                time=replace(case.time, step_time_s=900.0, measured=900.0))  # type: ignore[type-var]
        for i, case in enumerate(trusted[:4])
    ]  # fmt: skip
    bench = Bench([*trusted, *doubtful])
    with_them = columns_of(bench, labels_of(bench)).fitted_s[: len(trusted)]
    alone = Bench(trusted)
    assert with_them == pytest.approx(columns_of(alone, labels_of(alone)).fitted_s, rel=1e-6)


def test_layouts_of_one_sweep_are_ranked_by_constants_that_saw_none_of_them() -> None:
    cases = [
        replace(case, measurement=case.measurement.model_copy(update={"sweep": "all"})) for case in runs("one/x", 0.1)
    ]
    bench = Bench(cases)
    columns = columns_of(bench, labels_of(bench))
    assert columns.ranked_s == pytest.approx(columns.prior_s)
    assert columns.fitted_s != pytest.approx(columns.prior_s, rel=1e-3)
