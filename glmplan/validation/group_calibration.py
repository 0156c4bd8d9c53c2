"""Calibrations of every stack on every device that has enough trusted cases.

Fitted without levels of machines (see ``shared_fit``), which a calibration could not tell from one machine to the next:
what all runs of a stack on a device have in common is in its constants, what sets one machine apart is in the residual.
"""

import hashlib
from collections.abc import Iterator

import numpy as np

from glmplan.hardware.calibration import Calibration
from glmplan.validation.accuracy import errors_of
from glmplan.validation.bench import Bench, load_stack_once, shifted
from glmplan.validation.held_out import Labels
from glmplan.validation.shared_fit import fit_shared

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
