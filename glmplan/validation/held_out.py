"""Predicted step times of published cases in three ways, each honest about what it has seen.

*Prior*: the presets as they ship. *Fitted*: constants from four fifths of the same stack's cases on the same device,
five times over. *Unseen*: constants from other sources only; of the same stack if it has any, else of stacks of the
same family, else the presets. Beside them, *unseen after one measured step*: scaled by one case of the same source.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.validation.bench import Bench, load_stack_once
from glmplan.validation.case import CaseInputs
from glmplan.validation.case_source import machine_of, source_of
from glmplan.validation.shared_fit import UNFITTED, SharedFit, fit_shared

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
FOLDS = 5
FEWEST = 3
"""Configurations that a fit for an unseen source needs; fewer say less than the presets."""
_SAY = 2.0
"""What a source's runs weigh together in a fit for another source. They share what the model gets wrong about them, so
that their number adds little; with their full weight, one long table set constants that were 20 % off elsewhere."""
_OWN = 0.1
"""How far a single run lies from the level of its machine, in logarithm."""
_STACK_SPREAD = 0.5
"""How far constants may move for another source's runs of a stack, over how far for the machine's own runs: a source's
machine and versions are in what it teaches. Of 0.5 and 1 this predicts the sources left out better (7.7 against 7.9 %).
"""
_FAMILY_SPREAD = 0.25
"""The same for a stack of the same family: its kernels differ as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Predicted step times in seconds, a value a case of the bench."""

    prior_s: Floats
    fitted_s: Floats
    unseen_s: Floats
    ranked_s: Floats
    """As ``fitted_s``, but all layouts of a sweep share a fold: one set of constants ranks them, as in a search, and
    one that has seen none of them."""
    basis: tuple[str, ...]
    """What the unseen prediction rests on: ``stack``, ``family`` or ``preset``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What the cases of a bench belong to, in its order."""

    sources: tuple[str, ...]
    machines: tuple[str, ...]
    stacks: tuple[str, ...]
    families: tuple[str, ...]
    devices: tuple[str, ...]
    configurations: tuple[str, ...]
    sweeps: tuple[str, ...]
    """The sweep of layouts that the case belongs to, else its configuration."""
    weights: Floats
    """1 over the number of re-runs of the case's configuration, doubtful ones apart."""
    trusted: npt.NDArray[np.bool_]


def labels_of(bench: Bench) -> Labels:
    """The labels of the cases on ``bench``."""
    configurations = tuple(configuration_of(case) for case in bench.cases)
    trusted = tuple(case.trusted for case in bench.cases)
    counts = Counter(zip(configurations, trusted, strict=True))
    return Labels(
        sources=tuple(source_of(case.measurement) for case in bench.cases),
        machines=tuple(f"{machine_of(case)} {kernel_class(case)}" for case in bench.cases),
        stacks=tuple(case.stack for case in bench.cases),
        families=tuple(load_stack_once(case.stack).family for case in bench.cases),
        devices=tuple(case.cluster.device.name for case in bench.cases),
        configurations=configurations,
        sweeps=tuple(case.measurement.sweep or name for case, name in zip(bench.cases, configurations, strict=True)),
        weights=np.array([1.0 / counts[key] for key in zip(configurations, trusted, strict=True)]),
        trusted=np.array(trusted, dtype=bool),
    )


def kernel_class(case: CaseInputs) -> str:
    """What its matmuls are: the width of their number format, and grouped or not."""
    name = str(case.job.precision)
    width = "8-bit" if "fp8" in name else "4-bit" if "fp4" in name else "16-bit"
    return f"{width} MoE" if case.job.architecture.moe else width


def configuration_of(case: CaseInputs) -> str:
    """Equal for re-runs of one configuration."""
    record = case.measurement
    return f"{record.software}|{record.configuration}" if record.configuration else record.id


def columns_of(bench: Bench, labels: Labels, *, seed: int = 0) -> Columns:
    """The three columns of every case. ``seed`` draws the folds.

    A machine whose cases are all doubtful is fitted by itself; other doubtful cases are never learnt from.
    """
    fitted_s, ranked_s = np.full(len(bench.cases), np.nan), np.full(len(bench.cases), np.nan)
    sure = {machine for machine, trusted in zip(labels.machines, labels.trusted, strict=True) if trusted}
    doubtful_only = set(labels.machines) - sure
    apart = [machine if machine in doubtful_only else "" for machine in labels.machines]
    for members in _grouped([*zip(labels.stacks, labels.devices, apart, strict=True)]).values():
        learning = members if apart[members[0]] else members[labels.trusted[members]]
        fitted_s[members] = _cross_fitted(bench, labels, members, learning, labels.configurations, seed)
        ranked_s[members] = _cross_fitted(bench, labels, members, learning, labels.sweeps, seed)
    unseen_s = np.full(len(bench.cases), np.nan)
    basis = [""] * len(bench.cases)
    for members in _grouped([*zip(labels.sources, labels.stacks, strict=True)]).values():
        source, stack = labels.sources[members[0]], labels.stacks[members[0]]
        fit, rests_on = _without(bench, labels, source, stack)
        unseen_s[members] = fit.step_times_s(bench, members, labels.machines)
        for i in members:
            basis[i] = rests_on
    return Columns(prior_s=bench.prior_s, fitted_s=fitted_s, unseen_s=unseen_s, ranked_s=ranked_s, basis=tuple(basis))


def after_one_step(predicted_s: Floats, measured_s: Floats, weights: Floats) -> Floats:
    """Mean absolute error of each case of one group, when one other case drawn by ``weights`` sets the level.

    A measured ratio exp(r) moves the level by r^3 / (r^2 + 0.1^2): one small deviation is mostly that case's own, a
    large one the machine's. The mean is over all draws, so that there is no luck in it. A case on its own has none: not
    a number.
    """
    ratio = np.log(measured_s / predicted_s)
    level = ratio**3 / (ratio**2 + _OWN**2)
    errors = np.abs(np.exp(level[None, :] - ratio[:, None]) - 1)
    share = np.tile(weights, (len(weights), 1))
    np.fill_diagonal(share, 0.0)
    total = share.sum(axis=1)
    return np.asarray((errors * share).sum(axis=1) / np.where(total > 0, total, np.nan))


def _cross_fitted(
    bench: Bench, labels: Labels, members: Indices, learning: Indices, together: Sequence[str], seed: int
) -> Floats:
    """Each of ``members`` predicted by a fit to the other folds of ``learning``; cases with one name in ``together``
    share a fold. Doubtful cases are predicted, and never learnt from unless a machine has no others.
    """
    names = sorted({together[i] for i in members})
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = {names[k]: place % FOLDS for place, k in enumerate(order)}
    folds = np.array([fold_of[together[i]] for i in members])
    seconds = np.full(len(members), np.nan)
    for fold in range(FOLDS):
        held, others = members[folds == fold], np.intersect1d(members[folds != fold], learning)
        if len(held):
            fit = fit_shared(bench, others, labels.machines, labels.weights) if len(others) else UNFITTED
            seconds[folds == fold] = fit.step_times_s(bench, held, labels.machines)
    return seconds


def _without(bench: Bench, labels: Labels, source: str, stack: str) -> tuple[SharedFit, str]:
    """Constants for ``stack`` from other sources than ``source``, and what they rest on."""
    family = load_stack_once(stack).family
    for rests_on, kin in (
        ("stack", [s == stack for s in labels.stacks]),
        ("family", [f == family for f in labels.families]),
    ):
        others = np.flatnonzero(np.array(kin) & labels.trusted & (np.array(labels.sources) != source))
        if labels.weights[others].sum() >= FEWEST:
            spread = _STACK_SPREAD if rests_on == "stack" else _FAMILY_SPREAD
            weights = weights_between_sources(labels, others)
            return fit_shared(bench, others, labels.machines, weights, spread=spread), rests_on
    return UNFITTED, "preset"


def weights_between_sources(labels: Labels, members: Indices) -> Floats:
    """The weights with which ``members`` speak about another source: no source counts for more than ``_SAY``."""
    weights = labels.weights.copy()
    for indices in _grouped([labels.sources[i] for i in members]).values():
        chosen = members[indices]
        weights[chosen] *= min(1.0, _SAY / weights[chosen].sum())
    return weights


def _grouped(keys: Sequence[Hashable]) -> dict[Hashable, Indices]:
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        groups[key].append(index)
    return {key: np.array(members) for key, members in groups.items()}
