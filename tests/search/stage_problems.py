"""Random stage problems, and all their solutions one by one."""

import itertools
from collections.abc import Iterator

import numpy as np

from glmplan.search.stage_problem import Ints, StageProblem, stage_bytes, step_seconds


def random_problem(seed: int) -> StageProblem:
    """One or two runs of layers on two to four stages, some with virtual stages, two or three options, tight memory.

    The devices of the stages differ, as in a cluster of two kinds.
    """
    rng = np.random.default_rng(seed)
    runs, stages = int(rng.integers(1, 3)), int(rng.integers(2, 5))
    virtual = 2 if stages == 2 and rng.random() < 0.5 else 1
    options = 1 if virtual > 1 else int(rng.integers(2, 4)) if stages < 4 else 2
    first_option_first = options == 2 and bool(rng.random() < 0.5)
    most = 4 if options == 3 else 5
    layers = rng.integers(1, most, runs)
    layers[0] += max(0, stages * virtual - layers.sum())
    speed = rng.choice([1.0, 0.5], stages)
    again = np.sort(rng.uniform(1.0, 1.5, options))[::-1]  # the first option costs most and keeps least
    kept = np.sort(rng.uniform(0.1, 1.0, options))
    in_flight = np.minimum(stages - np.arange(stages), rng.integers(1, 9))
    state = rng.uniform(0.2, 1.0, runs)
    layer_s = rng.uniform(1.0, 2.0, runs)[None, :, None] * again[None, None, :] / speed[:, None, None]
    layer_bytes = state[None, None, :, None] + (kept * in_flight[:, None])[None, :, None, :] * [[[[1.0]]], [[[0.4]]]]
    problem = StageProblem(
        num_layers=layers,
        layer_s=layer_s,
        fixed_s=rng.uniform(0.0, 2.0, stages),
        layer_once_s=rng.uniform(0.0, 0.5, (stages, runs)),
        fixed_once_s=rng.uniform(0.0, 0.5, stages),
        layer_bytes=layer_bytes,
        fixed_bytes=rng.uniform(0.0, 1.0, (2, stages)),
        workspace_bytes=np.where(np.arange(options) == 0, rng.uniform(0.0, 1.0), 0.0) * np.ones((2, runs, 1)),
        capacity_bytes=np.ones(stages),
        fewest_layers=rng.integers(0, 2, stages * virtual),
        slowest_weight=float(rng.integers(1, 9)),
        passage_weight=float(rng.choice([1.0, 0.5])),
        first_option_first=first_option_first,
    )
    peaks = [stage_bytes(problem, chosen).max() for chosen, _ in itertools.islice(solutions(problem), 2000)]
    # every seventh problem is a little too tight for all of them
    capacity = np.min(peaks) * 0.95 if seed % 7 == 0 else np.quantile(peaks, rng.uniform(0.02, 0.5))
    return StageProblem(
        **{name: getattr(problem, name) for name in problem.__dataclass_fields__ if name != "capacity_bytes"},
        capacity_bytes=np.full(stages, capacity),
    )


def solutions(problem: StageProblem) -> Iterator[tuple[Ints, Ints]]:
    """n and x of every split and choice of options, whether it fits or not."""
    stages, runs, options = problem.layer_s.shape
    for split in splits(problem):
        held = np.zeros((stages, runs), dtype=np.int64)
        np.add.at(held, np.arange(len(split)) % stages, split)
        ways = [list(_ways(int(number), options)) for number in held.ravel()]
        for chosen in itertools.product(*ways):
            found = np.array(chosen).reshape(stages, runs, options)
            if not problem.first_option_first or _first_come_first(found):
                yield found, split


def splits(problem: StageProblem) -> Iterator[Ints]:
    """x of every split into chunks of consecutive layers."""
    total, chunks = int(problem.num_layers.sum()), len(problem.fewest_layers)
    ends = np.cumsum(problem.num_layers)
    for cuts in itertools.combinations_with_replacement(range(total + 1), chunks - 1):
        edges = np.array([0, *cuts, total])
        begin = np.concatenate([[0], ends[:-1]])
        inside = np.minimum(edges[1:, None], ends) - np.maximum(edges[:-1, None], begin)
        split = np.maximum(inside, 0)
        if (split.sum(axis=1) >= problem.fewest_layers).all():
            yield split


def best_by_trying(problem: StageProblem) -> float | None:
    """The shortest step of all solutions that fit; None where none does."""
    fitting = (
        step_seconds(problem, chosen, split)
        for chosen, split in solutions(problem)
        if (stage_bytes(problem, chosen) <= problem.capacity_bytes).all()
    )
    return min(fitting, default=None)


def _ways(number: int, options: int) -> Iterator[tuple[int, ...]]:
    if options == 1:
        yield (number,)
        return
    for first in range(number + 1):
        for rest in _ways(number - first, options - 1):
            yield (first, *rest)


def _first_come_first(chosen: Ints) -> bool:
    """On every stage, no layer does the first option after one that does not."""
    for stage in chosen:
        order = [option != 0 for run in stage for option, number in enumerate(run) for _ in range(number)]
        if order != sorted(order):
            return False
    return True


def plain_problem(*, layers: int, stages: int, head_s: float = 0.0, micro_batches: int = 4) -> StageProblem:
    """Layers of one second and one byte with memory enough, and a head on the last stage."""
    fixed_s = np.zeros(stages)
    fixed_s[-1] = head_s
    return StageProblem(
        num_layers=np.array([layers]),
        layer_s=np.ones((stages, 1, 1)),
        fixed_s=fixed_s,
        layer_once_s=np.zeros((stages, 1)),
        fixed_once_s=np.zeros(stages),
        layer_bytes=np.ones((1, stages, 1, 1)),
        fixed_bytes=np.zeros((1, stages)),
        workspace_bytes=np.zeros((1, 1, 1)),
        capacity_bytes=np.full(stages, float(layers)),
        fewest_layers=np.zeros(stages, dtype=np.int64),
        slowest_weight=micro_batches - 1.0,
        passage_weight=1.0,
    )
