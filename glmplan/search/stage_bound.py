"""How short the slowest stage can be at best: a bound that spares the integer program most of its proof.

Whether stages of at most T seconds hold all layers is decided by filling them in order, each as far as it goes: a stage
that can hold some layers can hold any part of them, so going further never hurts. T is then bisected.
"""

import itertools
import math

import numpy as np

from glmplan.search.stage_problem import Floats, Ints, StageProblem

DIGITS = 1e-10
"""Relative width of the bracket that bisection leaves."""
MOST_CHOICES = 20_000
"""Ways to choose options for a stage beyond which only its fastest options are looked at, memory or no memory."""


def least_slowest_s(problem: StageProblem) -> float:
    """Seconds that the slowest stage takes at least; 0 with virtual stages, for which nothing is derived."""
    if len(problem.fewest_layers) != problem.num_stages:
        return 0.0
    known: dict[tuple[int, ...], float] = {}

    def reaches_the_end(limit_s: float) -> bool:
        left = [int(number) for number in problem.num_layers]
        for stage in range(problem.num_stages):
            taken = [0] * len(left)
            for run, number in enumerate(left):
                while taken[run] < number:
                    taken[run] += 1
                    key = (stage, *taken)
                    if key not in known:
                        known[key] = fastest_s(problem, stage, np.array(taken))
                    if known[key] > limit_s:
                        taken[run] -= 1
                        break
                left[run] -= taken[run]
                if left[run]:
                    break
        return not any(left)

    low, high = _bracket(problem)
    if not reaches_the_end(high):  # no stage takes longer, so memory forbids it: the program itself will tell
        return 0.0
    while high - low > DIGITS * high:
        middle = (low + high) / 2.0
        low, high = (low, middle) if reaches_the_end(middle) else (middle, high)
    return low


def fastest_s(problem: StageProblem, stage: int, counts: Ints) -> float:
    """Seconds of ``stage`` with ``counts`` layers of each run and the fastest options that fit; infinite if none do."""
    options = problem.layer_s.shape[2]
    choices = math.prod(math.comb(int(number) + options - 1, options - 1) for number in counts)
    if choices > MOST_CHOICES:
        return float(problem.fixed_s[stage] + (problem.layer_s[stage].min(axis=1) * counts).sum())
    chosen = _choices(counts, options)
    seconds = problem.fixed_s[stage] + np.einsum("xch,ch->x", chosen, problem.layer_s[stage])
    workspace = np.where(chosen[None] > 0, problem.workspace_bytes[:, None], 0.0).max(axis=(2, 3))
    held = problem.fixed_bytes[:, stage, None] + workspace
    held = held + np.einsum("xch,jch->jx", chosen, problem.layer_bytes[:, stage])
    fits = held.max(axis=0) <= problem.capacity_bytes[stage] * (1.0 + 1e-9)
    return float(seconds[fits].min(initial=math.inf))


def _choices(counts: Ints, options: int) -> Ints:
    """Every way to give each layer an option, ``[ways, C, H]``."""
    each = []
    for number in counts:
        bars = itertools.combinations(range(int(number) + options - 1), options - 1)
        cuts = np.array([(-1, *bar, number + options - 1) for bar in bars], dtype=np.int64)
        each.append(np.diff(cuts, axis=1) - 1)
    index = np.indices([len(ways) for ways in each]).reshape(len(each), -1)
    return np.stack([ways[rows] for ways, rows in zip(each, index, strict=True)], axis=1)


def _bracket(problem: StageProblem) -> tuple[float, float]:
    """Seconds below and above which the slowest stage cannot be."""
    layers: Floats = problem.layer_s.max(axis=2) @ problem.num_layers
    fastest = problem.layer_s.min(axis=(0, 2)) @ problem.num_layers
    mean = (problem.fixed_s.sum() + fastest) / problem.num_stages
    return float(mean) * (1.0 - DIGITS), float((problem.fixed_s + layers).max())
