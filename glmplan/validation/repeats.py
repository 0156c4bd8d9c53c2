"""What no predictor of these inputs can hit: runs whose inputs are equal and whose measured step times are not.

Two runs have equal inputs when job, layout, devices and software stack are the same for the cost model. They differ in
container, release, day, machine or in what the source does not say. The *floor* is the error that is left when every
such group is predicted by its own median.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from glmplan.validation.accuracy import short
from glmplan.validation.bench import Bench
from glmplan.validation.case import CaseInputs
from glmplan.validation.held_out import Columns, Labels
from glmplan.validation.record_set import members_of, record_sets

Indices = npt.NDArray[np.int64]


def inputs_of(case: CaseInputs) -> Hashable:
    """Equal for cases of one job, layout and stack on like devices."""
    layouts = tuple(part.layout for part in case.parts)
    return case.stack, case.cluster.device.name, case.cluster.name, case.job, layouts, case.measurement.cuda_graph


def equal_inputs(bench: Bench, chosen: Sequence[int]) -> list[Indices]:
    """The groups of two or more among the cases ``chosen`` that the cost model cannot tell apart: kernels that a record
    names move the prediction as well.
    """
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for i in chosen:
        groups[inputs_of(bench.cases[i]), f"{bench.prior_s[i]:.9g}"].append(i)
    return [np.array(members) for members in groups.values() if len(members) > 1]


def spread_of(bench: Bench, group: Indices) -> float:
    """Slowest over fastest step of a group, less 1."""
    seconds = bench.measured_s[group]
    return float(seconds.max() / seconds.min() - 1)


def spreads(bench: Bench, labels: Labels) -> dict[int, float]:
    """Case -> spread of the trusted runs with its inputs; only cases that have equals."""
    groups = equal_inputs(bench, np.flatnonzero(labels.trusted).tolist())
    return {int(i): spread_of(bench, group) for group in groups for i in group}


def repeat_rows(bench: Bench, labels: Labels, columns: Columns) -> list[dict[str, Any]]:
    """A row for each set of step times that has trusted runs of equal inputs."""
    rows = []
    records = [case.measurement for case in bench.cases]
    for chosen in record_sets("time"):
        members = np.flatnonzero(members_of(chosen, records) & labels.trusted)
        groups = equal_inputs(bench, members.tolist())
        if not groups:
            continue
        found = [spread_of(bench, group) for group in groups]
        widest = groups[int(np.argmax(found))]
        repeated = np.concatenate(groups)
        medians = np.concatenate([np.full(len(group), np.median(bench.measured_s[group])) for group in groups])
        fitted = np.abs(columns.fitted_s / bench.measured_s - 1)
        # every configuration counts once in the set's average; here every group does
        weights = np.concatenate([np.full(len(group), 1.0 / len(group)) for group in groups])
        rows.append(
            {
                "set": chosen.name,
                "cases": len(members),
                "groups": len(groups),
                "runs": len(repeated),
                "spread_median": short(float(np.median(found))),
                "spread_largest": short(max(found)),
                "largest": [bench.cases[i].id for i in _ends(bench, widest)],
                "floor": short(float(np.average(np.abs(medians / bench.measured_s[repeated] - 1), weights=weights))),
                "fitted": short(float(np.average(fitted[repeated], weights=weights))),
            }
        )
    return rows


def _ends(bench: Bench, group: Indices) -> tuple[int, int]:
    """The fastest and the slowest of ``group``."""
    order = group[np.argsort(bench.measured_s[group])]
    return int(order[0]), int(order[-1])
