"""Calibrations of every stack on every device that has enough trusted cases.

Fitted without levels of machines (see ``shared_fit``), which a calibration could not tell from one machine to the next:
what all runs of a stack on a device have in common is in its constants, what sets one machine apart is in the residual.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from glmplan.hardware.calibration import Calibration
from glmplan.validation.accuracy import errors_of
from glmplan.validation.bench import Bench, load_stack_once, shifted
from glmplan.validation.held_out import FOLDS, Labels
from glmplan.validation.shared_fit import fit_shared

Floats = npt.NDArray[np.float64]
FEWEST = 6
"""Configurations that a stack on a device needs."""


def group_calibrations(bench: Bench, labels: Labels, *, made_by: str) -> Iterator[Calibration]:
    """One calibration for each stack and device with ``FEWEST`` configurations or more, in the order of their names."""
    for stack, device in sorted(set(zip(labels.stacks, labels.devices, strict=True))):
        here = np.array([(s, d) == (stack, device) for s, d in zip(labels.stacks, labels.devices, strict=True)])
        members = np.flatnonzero(here & labels.trusted)
        names = [labels.configurations[i] for i in members]
        if len(set(names)) < FEWEST:
            continue
        fit = fit_shared(bench, members, labels.machines, labels.weights, with_levels=False)
        preset = load_stack_once(stack)
        moved = shifted(preset, fit.shifts)
        errors = fit.step_times_s(bench, members, labels.machines) / bench.measured_s[members] - 1
        ids = sorted(bench.cases[i].id for i in members)
        yield Calibration(
            name=f"{stack}--{device}",
            device=device,
            stack=stack,
            made_by=made_by,
            cases=len(members),
            cases_sha256=hashlib.sha256("".join(f"{name}\n" for name in ids).encode()).hexdigest(),
            constants={name: float(f"{moved[name]:.6g}") for name in sorted(fit.shifts)},
            residual_mape=errors_of(names, errors)["mape"],
        )


def cross_calibrated_s(bench: Bench, labels: Labels, *, seed: int = 0) -> Floats:
    """Step times of the cases that the calibrations are made from, each by a calibration to the other folds of its
    stack and device; no number for the other cases. ``seed`` draws the folds. Re-runs of a configuration share one.
    """
    seconds = np.full(len(bench.cases), np.nan)
    pairs = np.array([f"{stack} {device}" for stack, device in zip(labels.stacks, labels.devices, strict=True)])
    for pair in sorted(set(pairs)):
        members = np.flatnonzero((pairs == pair) & labels.trusted)
        names = sorted({labels.configurations[i] for i in members})
        if len(names) < FEWEST:
            continue
        order = np.random.default_rng(seed).permutation(len(names))
        fold_of = {names[k]: place % FOLDS for place, k in enumerate(order)}
        folds = np.array([fold_of[labels.configurations[i]] for i in members])
        for fold in range(FOLDS):
            held, others = members[folds == fold], members[folds != fold]
            fit = fit_shared(bench, others, labels.machines, labels.weights, with_levels=False)
            seconds[held] = fit.step_times_s(bench, held, labels.machines)
    return seconds
