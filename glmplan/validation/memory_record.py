"""The memory part of the accuracy record: peaks as predicted, fitted, and with corrections of other sources."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from glmplan.cost.estimate import Grade
from glmplan.hardware.catalog import shipped_calibration
from glmplan.validation.accuracy import errors_of
from glmplan.validation.case_source import source_of
from glmplan.validation.coverage import Residual
from glmplan.validation.held_out import FEWEST, FOLDS, configuration_of
from glmplan.validation.memory_fit import MemoryFit, fit_memory
from glmplan.validation.predict import Prediction
from glmplan.validation.record_set import members_of, record_sets

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
_SAY = 2.0
"""What a source's peaks weigh together in a correction for another source."""


class _Peaks:
    """Measured and predicted peaks of trusted cases, in GiB."""

    def __init__(self, predictions: Sequence[Prediction]) -> None:
        held = [
            p for p in predictions if p.case.memory is not None and p.peak_memory_gib is not None and p.case.trusted
        ]
        self.cases = [p.case for p in held]
        self.predicted = np.array([p.peak_memory_gib for p in held], dtype=float)
        self.measured = np.array([p.case.memory.measured_gib for p in held if p.case.memory is not None], dtype=float)
        self.kinds = [str(p.case.memory.kind) for p in held if p.case.memory is not None]
        self.configurations = [configuration_of(case) for case in self.cases]
        self.sources = np.array([source_of(case.measurement) for case in self.cases])
        self.groups = [f"{case.stack} {kind}" for case, kind in zip(self.cases, self.kinds, strict=True)]
        counts = {name: self.configurations.count(name) for name in set(self.configurations)}
        self.weights = np.array([1.0 / counts[name] for name in self.configurations])

    def fit(self, members: Indices, kind: str, say: float = np.inf) -> MemoryFit:
        """The correction of ``members``, none of whose sources weighs more than ``say``."""
        if not len(members):
            return MemoryFit()
        weights = self.weights[members]
        for source in set(self.sources[members]):
            own = self.sources[members] == source
            weights[own] *= min(1.0, say / weights[own].sum())
        return fit_memory(self.predicted[members], self.measured[members], weights, kind)

    def fitted(self, seed: int = 0) -> Floats:
        """Each peak with the correction of the other folds of its stack."""
        found = self.predicted.copy()
        names = sorted(set(self.configurations))
        fold_of = dict(zip(names, np.random.default_rng(seed).permutation(len(names)) % FOLDS, strict=True))
        folds = np.array([fold_of[name] for name in self.configurations])
        for group in sorted(set(self.groups)):
            members = np.flatnonzero([g == group for g in self.groups])
            for fold in range(FOLDS):
                held = members[folds[members] == fold]
                found[held] = self.fit(members[folds[members] != fold], group.rsplit(" ", 1)[1]).at(
                    self.predicted[held]
                )
        return found

    def unseen(self) -> Floats:
        """Each peak with the correction of other sources of its stack; as it is where there are none."""
        found = self.predicted.copy()
        for group in sorted(set(self.groups)):
            members = np.flatnonzero([g == group for g in self.groups])
            for source in sorted(set(self.sources[members])):
                held, others = members[self.sources[members] == source], members[self.sources[members] != source]
                if self.weights[others].sum() >= FEWEST:
                    found[held] = self.fit(others, group.rsplit(" ", 1)[1], _SAY).at(self.predicted[held])
        return found


def memory_rows(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """One row a set of measured peaks."""
    peaks = _Peaks(predictions)
    columns = {"prior": peaks.predicted, "fitted": peaks.fitted(), "unseen": peaks.unseen()}
    rows = []
    for chosen in record_sets("memory"):
        named = members_of(chosen, [case.measurement for case in peaks.cases])
        members = np.flatnonzero(named & np.array([kind == chosen.kind for kind in peaks.kinds], dtype=bool))
        if not len(members):
            continue
        names = [peaks.configurations[i] for i in members]
        row: dict[str, Any] = {
            "set": chosen.name,
            "references": [reference.model_dump() for reference in chosen.references],
            "cases": len(members),
            "configurations": len(set(names)),
        }
        for name, values in columns.items():
            row[name] = errors_of(names, values[members] / peaks.measured[members] - 1)
        rows.append(row)
    return rows


def memory_residuals(predictions: Sequence[Prediction]) -> list[Residual]:
    """Measured over predicted peaks of trusted cases. No calibration moves memory: the prediction is the preset's, and
    its grade the one that a plan for this stack and device has.
    """
    found = []
    for item in predictions:
        case = item.case
        if case.memory is None or item.peak_memory_gib is None or not case.trusted:
            continue
        calibrated = shipped_calibration(case.stack, case.cluster.device.name) is not None
        found.append(
            Residual(
                grade=Grade.CALIBRATED if calibrated else item.grade,
                kind=case.memory.kind,
                source=source_of(case.measurement),
                configuration=configuration_of(case),
                ratio=case.memory.measured_gib / item.peak_memory_gib,
            )
        )
    return found
