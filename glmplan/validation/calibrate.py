"""Fits the constants of one software stack on one device to cases, and says what is left on cases it has not seen."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.errors import InputError, NoData
from glmplan.hardware.calibration import Calibration
from glmplan.software.stack import Stack
from glmplan.validation.case import CaseInputs, Skipped
from glmplan.validation.fit import Fit, fit_constants
from glmplan.validation.predict import Estimator, predict_step_times

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The error on one source's cases with constants fitted to all other sources."""

    source: str
    cases: int
    mape_prior: float
    mape_held_out: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationResult:
    """A calibration with what it was made from."""

    calibration: Calibration
    prior: dict[str, float]
    """The stack's constants before, those that were fitted."""
    mape_before: float
    mape_after: float
    used: tuple[CaseInputs, ...]
    skipped: tuple[Skipped, ...]
    held_out: tuple[HeldOut, ...]


def select(
    cases: Sequence[CaseInputs], stack: str | None, device: str | None
) -> tuple[list[CaseInputs], list[Skipped]]:
    """The cases of one stack and device that may be fitted, and the others with the reason.

    Where ``stack`` or ``device`` is None, the pair with the most cases is taken. Raises NoData when nothing is left.
    """
    fit_for = [case for case in cases if case.trusted and case.time is not None]
    groups = Counter(
        (case.stack, case.cluster.device.name)
        for case in fit_for
        if stack in (None, case.stack) and device in (None, case.cluster.device.name)
    )
    if not groups:
        wanted = f" of {' on '.join(filter(None, (stack, device)))}" if stack or device else ""
        raise NoData(
            f"calibrate: no case{wanted} can be fitted; one needs complete inputs, a speed, trust A or B, "
            f"kind pretrain and no doubt ('suspect'); {len(cases)} cases were read"
        )
    chosen = groups.most_common(1)[0][0]
    used, skipped = [], []
    for case in cases:
        reason = _why_not(case, chosen)
        if reason is None:
            used.append(case)
        else:
            skipped.append(Skipped(id=case.id, reason=reason))
    return used, skipped


def calibrate(
    cases: Sequence[CaseInputs], stack: Stack, estimate: Estimator, *, made_by: str, leave_one_source_out: bool = False
) -> CalibrationResult:
    """Fits ``stack``'s constants to ``cases``, which are all of that stack and of one device.

    Raises NoData when no case can be predicted, InputError when leaving one source out leaves nothing.
    """
    sources = _sources(cases)
    if leave_one_source_out and len(sources) < 2:
        raise InputError(
            f"leave-one-source-out: needs cases of two sources or more; all {len(cases)} come from "
            f"{next(iter(sources))!r}"
        )
    times = predict_step_times(cases, stack, estimate)
    usable = [case for case, seconds in zip(cases, times, strict=True) if np.isfinite(seconds) and seconds > 0]
    refused = [
        Skipped(id=case.id, reason="the cost model has no estimate for its layout")
        for case in cases
        if case not in usable
    ]
    if not usable:
        raise NoData(f"calibrate: the cost model has no estimate for any of the {len(cases)} cases")
    fit = _fit(usable, stack, estimate)
    held_out = _leave_one_source_out(usable, stack, estimate) if leave_one_source_out else ()
    device = usable[0].cluster.device.name
    calibration = Calibration(
        name=f"{stack.name}-{device}",
        device=device,
        stack=stack.name,
        made_by=made_by,
        cases=len(usable),
        cases_sha256=hashlib.sha256("".join(f"{name}\n" for name in sorted(c.id for c in usable)).encode()).hexdigest(),
        constants={name: float(f"{value:.6g}") for name, value in fit.constants.items()},
        residual_mape=fit.mape_after,
    )
    return CalibrationResult(
        calibration=calibration,
        prior={name: stack[name] for name in fit.constants},
        mape_before=fit.mape_before,
        mape_after=fit.mape_after,
        used=tuple(usable),
        skipped=tuple(refused),
        held_out=tuple(held_out),
    )


def _why_not(case: CaseInputs, chosen: tuple[str, str]) -> str | None:
    record = case.measurement
    if (case.stack, case.cluster.device.name) != chosen:
        return f"of {case.stack} on {case.cluster.device.name}; this fit is of {' on '.join(chosen)}"
    if case.time is None:
        return "gives no speed"
    if record.suspect is not None:
        return f"suspect: {record.suspect}"
    if record.kind != "pretrain":
        return f"kind {record.kind}"
    return None if case.trusted else f"trust {record.trust}"


def fitted_stack(cases: Sequence[CaseInputs], stack: Stack, estimate: Estimator) -> Stack:
    """``stack`` with its constants fitted to ``cases``, all of which the estimator must be able to predict."""
    return stack.with_constants(_fit(cases, stack, estimate).constants)


def _fit(cases: Sequence[CaseInputs], stack: Stack, estimate: Estimator) -> Fit:
    measured = np.array([case.time.step_time_s for case in cases if case.time is not None])

    def residuals(constants: dict[str, float]) -> Floats:
        predicted = predict_step_times(cases, stack.with_constants(constants), estimate)
        return np.asarray(np.log(predicted / measured), dtype=np.float64)

    return fit_constants(residuals, stack.constants, _weights(cases))


def _weights(cases: Sequence[CaseInputs]) -> Floats:
    """Re-runs of one configuration weigh one together."""
    names = [case.measurement.configuration or case.id for case in cases]
    counts = Counter(names)
    return np.array([1.0 / counts[name] for name in names])


def _sources(cases: Sequence[CaseInputs]) -> dict[str, list[CaseInputs]]:
    sources: dict[str, list[CaseInputs]] = defaultdict(list)
    for case in cases:
        sources[str(case.measurement.source.get("title", "not stated"))].append(case)
    return sources


def _leave_one_source_out(cases: Sequence[CaseInputs], stack: Stack, estimate: Estimator) -> list[HeldOut]:
    found = []
    for source, held in _sources(cases).items():
        others = [case for case in cases if case not in held]
        if not others:
            raise InputError(f"leave-one-source-out: only {source!r} has cases that can be predicted")
        fitted = fitted_stack(others, stack, estimate)
        found.append(
            HeldOut(
                source=source,
                cases=len(held),
                mape_prior=_mape(held, stack, estimate),
                mape_held_out=_mape(held, fitted, estimate),
            )
        )
    return found


def _mape(cases: Sequence[CaseInputs], stack: Stack, estimate: Estimator) -> float:
    measured = np.array([case.time.step_time_s for case in cases if case.time is not None])
    weights = _weights(cases)
    errors = np.abs(predict_step_times(cases, stack, estimate) / measured - 1)
    return float(np.sum(weights * errors) / weights.sum())
