"""The whole validation of a set of cases: what was compared, what was skipped, and the summary; as one document."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glmplan.hardware.calibration import Calibration
from glmplan.plan.measurement import MeasuredValues, Measurement
from glmplan.software.catalog import load_stack
from glmplan.software.stack import Stack
from glmplan.validation.accuracy import summary
from glmplan.validation.case import CaseInputs, Skipped, to_inputs
from glmplan.validation.case_file import PlacedMeasurement
from glmplan.validation.comparison import Comparison, compare
from glmplan.validation.predict import Estimator, predict_cases

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a validation found."""

    compared: tuple[Comparison, ...]
    skipped: tuple[Skipped, ...]
    inputs: tuple[CaseInputs, ...] = ()
    """Of the cases that could be predicted."""

    def document(self) -> dict[str, Any]:
        """The JSON document; ``assumed`` is empty for a case that states everything."""
        assumed = {case.id: list(case.assumptions) for case in self.inputs}
        return {
            "schema_version": SCHEMA_VERSION,
            "cases": [
                {
                    "id": item.id,
                    "quantity": item.quantity,
                    "measured": item.measured,
                    "predicted": item.predicted,
                    "low90": item.low90,
                    "high90": item.high90,
                    "grade": item.grade,
                    "relative_error": item.relative_error,
                    "trusted": item.membership.trusted,
                    "assumed": assumed.get(item.id, []),
                }
                for item in self.compared
            ],
            "skipped": [{"id": item.id, "reason": item.reason} for item in self.skipped],
            "summary": summary(self.compared),
        }


def usable_cases(
    placed: Sequence[PlacedMeasurement], *, stack: str | None = None, cluster: str | None = None
) -> tuple[list[CaseInputs], list[Skipped]]:
    """The inputs of every case that can be predicted, and the others with the reason.

    ``stack`` stands for every case's software, ``cluster`` for the profile that own runs name. A record that was seen
    before is skipped; one of the same id with another measurement is a re-run, and counts.
    """
    usable: list[CaseInputs] = []
    skipped: list[Skipped] = []
    seen: dict[tuple[str, MeasuredValues], str] = {}
    for item in placed:
        record: Measurement = item.measurement
        key = record.id, record.measured
        if key in seen:
            skipped.append(Skipped(id=record.id, reason=f"{item.place}: the same measurement as at {seen[key]}"))
            continue
        seen[key] = item.place
        inputs = to_inputs(record, stack=stack, cluster=cluster)
        if isinstance(inputs, Skipped):
            skipped.append(inputs)
        else:
            usable.append(inputs)
    return usable, skipped


def validate_cases(
    placed: Sequence[PlacedMeasurement],
    estimate: Estimator,
    *,
    calibration: Calibration | None = None,
    stack: str | None = None,
    cluster: str | None = None,
) -> Outcome:
    """Predicts every case from its inputs alone and holds it against what was measured.

    ``calibration`` applies to the cases of its device and stack. Raises InputError when its constants are not the
    stack's.
    """
    usable, skipped = usable_cases(placed, stack=stack, cluster=cluster)
    stacks: dict[tuple[str, bool], Stack] = {}

    def stack_of(case: CaseInputs) -> Stack:
        calibrated = calibration is not None and (case.stack, case.cluster.device.name) == (
            calibration.stack,
            calibration.device,
        )
        key = case.stack, calibrated
        if key not in stacks:
            loaded = load_stack(case.stack)
            if calibration is not None and calibrated:
                loaded = loaded.with_constants(calibration.constants, calibration.device)
            stacks[key] = loaded
        return stacks[key]

    compared: list[Comparison] = []
    for prediction in predict_cases(usable, stack_of, estimate):
        if isinstance(prediction, Skipped):
            skipped.append(prediction)
        else:
            compared += compare(prediction)
    return Outcome(
        compared=tuple(compared),
        skipped=tuple(skipped),
        inputs=tuple(usable),
    )
