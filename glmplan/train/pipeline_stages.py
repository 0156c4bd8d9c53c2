"""Which layers a pipeline rank holds, and which of them it recomputes: the layout's words as layer numbers."""

from itertools import accumulate, pairwise

import numpy as np

from glmplan.layout.parallel_layout import ParallelLayout, Recompute
from glmplan.layout.stages import even_shares


def chunk_layers(layout: ParallelLayout, num_layers: int) -> list[range]:
    """Layers of each model chunk in the order of the forward pass; an even split is the one the planner costs.

    >>> chunk_layers(ParallelLayout(pp=4), 10)
    [range(0, 2), range(2, 5), range(5, 8), range(8, 10)]
    >>> chunk_layers(ParallelLayout(pp=2, stage_layers=(1, 3)), 4)
    [range(0, 1), range(1, 4)]
    """
    held = layout.stage_layers or _even(layout.pp * layout.virtual_stages, num_layers)
    return [range(start, end) for start, end in pairwise(accumulate(held, initial=0))]


def held_chunks(layout: ParallelLayout, stage: int) -> range:
    """Numbers of the chunks that lie on ``stage``."""
    return range(stage, layout.pp * layout.virtual_stages, layout.pp)


def recomputed_layers(layout: ParallelLayout, num_layers: int, stage: int) -> frozenset[int]:
    """Layers of ``stage`` that keep only their input: with full recomputation all, or the first so many."""
    if layout.recompute is not Recompute.FULL:
        return frozenset()
    chunks = chunk_layers(layout, num_layers)
    layers = [layer for chunk in held_chunks(layout, stage) for layer in chunks[chunk]]
    limit = layout.recompute_layers
    if layout.stage_recompute_layers is not None:
        limit = layout.stage_recompute_layers[stage]
    return frozenset(layers[:limit])


def _even(num_chunks: int, num_layers: int) -> tuple[int, ...]:
    if num_chunks == 1:
        return (num_layers,)
    first, longer, share, num_longer = (int(each[0]) for each in even_shares(num_layers, np.array([num_chunks])))
    return (first, *[longer] * num_longer, *[share] * (num_chunks - 1 - num_longer))
