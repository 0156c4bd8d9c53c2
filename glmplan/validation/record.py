"""The accuracy record: the errors of each set of published runs, fitted and held out, beside simpler models and other
tools; ranks, intervals, the worst cases and the doubtful ones. What it says in words is in ``record_text``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from glmplan.architecture.model_flops import model_flops_per_token
from glmplan.cost.estimate import Grade
from glmplan.cost.interval import work_of
from glmplan.layout.parallel_layout import Recompute
from glmplan.validation.accuracy import errors_of, rankings, short
from glmplan.validation.bench import Bench, load_stack_once
from glmplan.validation.case import CaseInputs, Skipped
from glmplan.validation.comparison import Comparison, compare
from glmplan.validation.coverage import Residual, coverage_rows
from glmplan.validation.group_calibration import cross_calibrated_s
from glmplan.validation.held_out import Columns, Labels, after_one_step, columns_of, labels_of
from glmplan.validation.memory_record import memory_residuals, memory_rows
from glmplan.validation.predict import Estimator, Prediction, predict_cases
from glmplan.validation.record_set import RecordSet, cause_of, members_of, record_sets
from glmplan.validation.repeats import repeat_rows, spreads
from glmplan.validation.withheld_device import withheld_step_times_s

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
COLUMNS = ("prior", "fitted", "unseen")
_MISFITS = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The record and the residuals that intervals are made from."""

    document: dict[str, Any]
    times: tuple[Residual, ...]
    memory: tuple[Residual, ...]


def prior_record(bench: Bench) -> dict[str, dict[str, Any]]:
    """Set -> errors of step times with the presets as they ship: the part that is quick to make again."""
    labels = labels_of(bench)
    errors = bench.prior_s / bench.measured_s - 1
    found = {}
    for chosen in record_sets("time"):
        members = _members(chosen, bench, labels)
        if len(members):
            found[chosen.name] = errors_of([labels.configurations[i] for i in members], errors[members])
    return found


def accuracy_record(cases: Sequence[CaseInputs], skipped: Sequence[Skipped], estimate: Estimator) -> Record:
    """The whole record of ``cases``. Takes minutes: constants are fitted some 60 times."""
    bench = Bench(cases)
    labels = labels_of(bench)
    columns = columns_of(bench, labels)
    found = predict_cases(cases, lambda case: load_stack_once(case.stack), estimate)
    predictions = [item for item in found if isinstance(item, Prediction)]
    refused = [*skipped, *(item for item in found if isinstance(item, Skipped))]
    compared = {item.id: item for p in predictions for item in compare(p) if not item.is_memory}
    grades = {id(item.case): item.grade for item in predictions}
    times = _residuals(bench, labels, columns, grades)
    memory = memory_residuals(predictions)
    document = {
        "schema_version": 2,
        "cases": {"read": len(cases) + len(skipped), "predicted": len(predictions), "skipped": len(refused)},
        "time": [_time_row(chosen, bench, labels, columns) for chosen in record_sets("time")],
        "memory": memory_rows(predictions),
        "ranking": {name: _ranking(bench, columns, name, compared) for name in COLUMNS},
        "intervals": {"step_time": coverage_rows(times), "memory": coverage_rows(memory)},
        "not_fitting": [
            {"id": item.case.id, "memory_fraction": short(item.memory_fraction)}
            for item in predictions
            if item.case.trusted and item.memory_fraction > 1.0
        ],
        "repeats": repeat_rows(bench, labels, columns),
        "misfits": _misfits(bench, labels, columns),
        "doubtful": _doubtful(bench, labels, columns),
    }
    return Record(document=document, times=tuple(times), memory=tuple(memory))


def executed_flops(case: CaseInputs) -> float:
    """FLOPs of a step with what recomputation repeats: the layers, or attention."""
    per_token = model_flops_per_token(case.job.architecture, case.job.seq_len)
    match case.parts[0].layout.recompute:
        case Recompute.FULL:
            again = (per_token.total - per_token.head) / 3.0
        case Recompute.SELECTIVE:
            again = per_token.attention / 3.0
        case _:
            again = 0.0
    return float((per_token.total + again) * case.job.tokens_per_step)


def constant_hfu_errors(cases: Sequence[CaseInputs], measured_s: Floats) -> Floats:
    """Errors of the simplest model: every run at the set's own median share of its devices' peak."""
    hfu = []
    for case, seconds in zip(cases, measured_s, strict=True):
        peak = case.cluster.device.peak_flops_per_s(case.job.precision)
        hfu.append(executed_flops(case) / (seconds * case.parts[0].layout.world_size * peak))
    return np.asarray(np.array(hfu) / np.median(hfu) - 1)


def _members(chosen: RecordSet, bench: Bench, labels: Labels, *, doubtful: bool = False) -> Indices:
    named = members_of(chosen, [case.measurement for case in bench.cases])
    pretraining = np.array([case.measurement.kind == "pretrain" for case in bench.cases])
    counted = pretraining if doubtful or chosen.suspects else labels.trusted
    return np.flatnonzero(named & counted)


def _time_row(chosen: RecordSet, bench: Bench, labels: Labels, columns: Columns) -> dict[str, Any]:
    members = _members(chosen, bench, labels)
    row: dict[str, Any] = {
        "set": chosen.name,
        "references": [reference.model_dump() for reference in chosen.references],
        "cases": len(members),
    }
    if not len(members):
        return row
    names = [labels.configurations[i] for i in members]
    row["configurations"] = len(set(names))
    for name, seconds in zip(COLUMNS, (columns.prior_s, columns.fitted_s, columns.unseen_s), strict=True):
        row[name] = errors_of(names, seconds[members] / bench.measured_s[members] - 1)
    row["rests_on"] = {
        b: [columns.basis[i] for i in members].count(b) for b in sorted({columns.basis[i] for i in members})
    }
    row["after_one_step"] = _after_one_step(bench, labels, columns, members)
    hfu = errors_of(names, constant_hfu_errors([bench.cases[i] for i in members], bench.measured_s[members]))
    row["constant_hfu"] = hfu["mape"]
    row["times_better"] = short(hfu["mape"] / row["fitted"]["mape"])
    everything = _members(chosen, bench, labels, doubtful=True)
    if len(everything) > len(members) and chosen.when:
        names = [labels.configurations[i] for i in everything]
        row["with_doubtful"] = {
            "cases": len(everything),
            "prior": errors_of(names, bench.prior_s[everything] / bench.measured_s[everything] - 1)["mape"],
            "fitted": errors_of(names, columns.fitted_s[everything] / bench.measured_s[everything] - 1)["mape"],
        }
    return row


def _after_one_step(bench: Bench, labels: Labels, columns: Columns, members: Indices) -> float | None:
    """The mean over configurations, each case levelled by another of its own stack, machine and class of kernels."""
    errors, weights = [], []
    for key in sorted({(labels.stacks[i], labels.machines[i]) for i in members}):
        group = np.array([i for i in members if (labels.stacks[i], labels.machines[i]) == key])
        found = after_one_step(columns.unseen_s[group], bench.measured_s[group], labels.weights[group])
        known = np.isfinite(found)
        errors += found[known].tolist()
        weights += labels.weights[group][known].tolist()
    return short(np.average(errors, weights=weights)) if errors else None


def _ranking(bench: Bench, columns: Columns, name: str, compared: dict[str, Comparison]) -> dict[str, Any]:
    seconds = dict(zip(COLUMNS, (columns.prior_s, columns.ranked_s, columns.unseen_s), strict=True))[name]
    moved = []
    for case, value in zip(bench.cases, seconds, strict=True):
        item = compared.get(case.id)
        if item is not None and item.tokens_per_s_per_gpu is not None:
            work = case.job.tokens_per_step / case.parts[0].layout.world_size
            moved.append(replace(item, tokens_per_s_per_gpu=(item.tokens_per_s_per_gpu[0], work / float(value))))
    sweeps = [sweep for sweep in rankings(moved) if sweep.tells]
    if not sweeps:
        return {"sweeps": 0}
    return {
        "sweeps": len(sweeps),
        "spearman_mean": short(float(np.mean([sweep.spearman for sweep in sweeps]))),
        "regret_mean": short(float(np.mean([sweep.regret for sweep in sweeps]))),
        "regret_max": short(max(sweep.regret for sweep in sweeps)),
    }


def _residuals(bench: Bench, labels: Labels, columns: Columns, grades: dict[int, Grade]) -> list[Residual]:
    """Measured over predicted step times, as a planner of each grade would predict them.

    Calibrated: by calibrations to other folds of the same stack and device. Transferred: unseen, with the kernels of
    the device or its generation. Datasheet: with all of the generation withheld, and runs that lack it as they are.
    """
    columns_s = {
        Grade.CALIBRATED: cross_calibrated_s(bench, labels),
        Grade.TRANSFERRED: columns.unseen_s,
        Grade.DATASHEET: withheld_step_times_s(bench, labels),
    }
    found = []
    for i in np.flatnonzero(labels.trusted).tolist():
        case = bench.cases[i]
        for grade, seconds in columns_s.items():
            known = grade is not Grade.TRANSFERRED or grades[id(case)] is Grade.TRANSFERRED
            if known and np.isfinite(seconds[i]):
                found.append(
                    Residual(
                        grade=grade,
                        kind=str(work_of(case.job)),
                        source=labels.sources[i],
                        configuration=labels.configurations[i],
                        ratio=float(bench.measured_s[i] / seconds[i]),
                    )
                )
    return found


def _misfits(bench: Bench, labels: Labels, columns: Columns) -> list[dict[str, Any]]:
    """The configurations that even their own stack's fit misses most, each once."""
    errors = columns.fitted_s / bench.measured_s - 1
    spread = {i: short(value) for i, value in spreads(bench, labels).items()}
    rows: dict[str, dict[str, Any]] = {}
    for i in sorted(np.flatnonzero(labels.trusted).tolist(), key=lambda k: -abs(errors[k])):
        if len(rows) < _MISFITS:
            row = _case_row(bench, columns, i) | {"spread": spread.get(i), "parts": bench.largest_parts(i)}
            rows.setdefault(labels.configurations[i], row | {"cause": cause_of(bench.cases[i].measurement)})
    return list(rows.values())


def _doubtful(bench: Bench, labels: Labels, columns: Columns) -> list[dict[str, Any]]:
    """Rows that are wrong at the source, with the reason; a table that is doubtful as a whole stands once."""
    rows: dict[str, dict[str, Any]] = {}
    for i in np.flatnonzero(~labels.trusted).tolist():
        reason = bench.cases[i].measurement.suspect
        if reason is not None and bench.cases[i].measurement.kind == "pretrain":
            row = rows.setdefault(
                f"{labels.machines[i]}|{reason}", _case_row(bench, columns, i) | {"reason": reason, "rows": 0}
            )
            row["rows"] += 1
    return list(rows.values())


def _case_row(bench: Bench, columns: Columns, i: int) -> dict[str, Any]:
    measured_s = bench.measured_s[i]
    return {
        "id": bench.cases[i].id,
        "measured_s": short(measured_s),
        "prior": short(columns.prior_s[i] / measured_s - 1),
        "fitted": short(columns.fitted_s[i] / measured_s - 1),
        "unseen": short(columns.unseen_s[i] / measured_s - 1),
    }
