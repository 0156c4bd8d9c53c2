"""Which blocks each pipeline stage holds, and which of their layers run their forward pass twice.

Where a layout does not say how many layers each stage has, three stages stand for all: the first (embedding, most
micro-batches in flight), an inner one, and the last (head). Where it does, every stage stands for itself.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.layout.parallel_layout import RECOMPUTES, LayoutTable, Recompute
from glmplan.workload.graph import LAYER_KINDS, Block, BlockKind

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
BlockCounts = dict[BlockKind, Floats]
FIRST, INNER, LAST = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """Blocks of each stage, ``[stages, layouts]``, and of the whole pipeline, ``[layouts]``."""

    counts: BlockCounts
    """Blocks that a stage holds."""
    repeated: BlockCounts
    """Of its layers, those whose whole forward pass is repeated before their backward pass."""
    partly_repeated: BlockCounts
    """Of its layers, those of which the stack repeats some operations."""
    exists: Mask
    """False where the arrays have more rows than the layout has stages."""
    position: Floats
    """Index of the stage in the pipeline."""
    all_counts: BlockCounts
    all_repeated: BlockCounts
    all_partly_repeated: BlockCounts


def split_into_stages(blocks: tuple[Block, ...], table: LayoutTable) -> Stages:
    """Blocks over the stages of each layout: as its ``stage_layers`` say, else as evenly as they go.

    A remainder falls on inner stages first, on the last never. With one stage, all blocks are the first's. Layers of
    the first kind come before those of the second (dense before experts, encoder before decoder).
    """
    layers = {block.kind: block.count for block in blocks if block.kind in LAYER_KINDS}
    counts = _even_counts(layers, table)
    exists = np.stack([np.ones(len(table), dtype=bool), table.pp > 2, table.pp > 1])
    position = np.stack([np.zeros(len(table)), np.minimum(1.0, table.pp - 1.0), table.pp - 1.0])
    each = np.broadcast_to(_repeated_layers(table, sum(layers.values())), exists.shape)
    selective = (table.recompute == RECOMPUTES.index(Recompute.SELECTIVE)).astype(float)
    total = {block.kind: np.full(len(table), float(block.count)) for block in blocks}
    all_repeated = _all_repeated(layers, table, each[FIRST])
    given = _stated(table.stage_layers) | _stated(table.stage_recompute_layers)
    if given.any():
        some = table.take(given)
        own = _given_counts(layers, some)
        own_each = _given_repeated_layers(some, len(own[BlockKind.HEAD]), each[FIRST, given])
        counts = {kind: _replaced(values, given, own[kind]) for kind, values in counts.items()}
        position_own = np.broadcast_to(np.arange(len(own_each), dtype=float)[:, None], own_each.shape)
        position = _replaced(position, given, position_own)
        exists = _replaced(exists.astype(float), given, (position_own < some.pp).astype(float)) > 0
        each = _replaced(np.array(each), given, own_each)
        for kind, values in _first_layers(own, tuple(layers), own_each).items():
            all_repeated[kind][given] = values.sum(axis=0)
    return Stages(
        counts=counts,
        repeated=_first_layers(counts, tuple(layers), each),
        partly_repeated={kind: counts[kind] * selective for kind in layers},
        exists=exists,
        position=position,
        all_counts=total,
        all_repeated=all_repeated,
        all_partly_repeated={kind: total[kind] * selective for kind in layers},
    )


def _stated(lists: Ints) -> Mask:
    return np.asarray((lists >= 0).any(axis=1))


def even_shares(total: int, pp: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Layers of the first stage, of a longer inner stage and of the last; and how many inner stages are longer."""
    share, rest = total // pp, total % pp
    first = share + (rest > np.maximum(pp - 2, 0))
    return first, share + (rest > 0), share, rest - (first - share)


def _even_counts(layers: dict[BlockKind, int], table: LayoutTable) -> BlockCounts:
    kinds = list(layers)
    early, late = kinds[0], kinds[-1]
    first, inner, last, _ = even_shares(sum(layers.values()), table.pp)
    held = np.stack([first, inner, last])
    counts = {kind: np.zeros(held.shape) for kind in (*kinds, BlockKind.EMBEDDING, BlockKind.HEAD)}
    if early == late:
        counts[early][:] = held
    else:
        counts[early][FIRST] = np.minimum(layers[early], held[FIRST])
        counts[late][FIRST] = held[FIRST] - counts[early][FIRST]
        counts[late][LAST] = np.minimum(layers[late], held[LAST])
        counts[late][INNER] = np.minimum(layers[late] - counts[late][LAST], held[INNER])
        counts[early][INNER:] = held[INNER:] - counts[late][INNER:]
        counts[early][FIRST] = np.where(table.pp == 1, layers[early], counts[early][FIRST])
        counts[late][FIRST] = np.where(table.pp == 1, layers[late], counts[late][FIRST])
    counts[BlockKind.EMBEDDING][FIRST] = 1.0
    counts[BlockKind.HEAD][FIRST] = np.where(table.pp == 1, 1.0, 0.0)
    counts[BlockKind.HEAD][LAST] = np.where(table.pp > 1, 1.0, 0.0)
    return counts


def _repeated_layers(table: LayoutTable, total: int) -> Floats:
    """Layers of each stage that recomputation in full repeats, counted from the stage's first."""
    full = table.recompute == RECOMPUTES.index(Recompute.FULL)
    chosen = np.where(table.recompute_layers < 0, total, table.recompute_layers)
    return np.where(full, chosen, 0).astype(float)


def _first_layers(counts: BlockCounts, kinds: tuple[BlockKind, ...], number: Floats) -> BlockCounts:
    """Of a stage's layers the first ``number``, by kind."""
    found, left = {}, number
    for kind in kinds:
        found[kind] = np.minimum(counts[kind], left)
        left = left - found[kind]
    return found


def _all_repeated(layers: dict[BlockKind, int], table: LayoutTable, each: Floats) -> BlockCounts:
    """The sum of ``_first_layers`` over the stages of an even split: stages of equal size are counted together."""
    kinds, total = tuple(layers), sum(layers.values())
    if not ((each > 0) & (each < total)).any():
        return {kind: np.where(each > 0, float(layers[kind]), 0.0) for kind in kinds}
    first, longer, share, num_longer = even_shares(total, table.pp)
    runs = (
        (first, np.ones_like(first)),
        (longer, num_longer),
        (share, np.maximum(table.pp - 2, 0) - num_longer),
        (share, (table.pp > 1).astype(np.int64)),
    )
    sums = {kind: np.zeros(len(table)) for kind in kinds}
    left = np.full(len(table), layers[kinds[0]])
    for held, number in runs:
        whole = np.clip(left // np.maximum(held, 1), 0, number)
        rest = np.where(whole < number, left - whole * held, 0)
        early = whole * np.minimum(held, each) + np.minimum(rest, each)
        sums[kinds[0]] += early
        if len(kinds) > 1:
            sums[kinds[-1]] += number * np.minimum(held, each) - early
        left = left - whole * held - rest
    return sums


def _given_counts(layers: dict[BlockKind, int], table: LayoutTable) -> BlockCounts:
    """Blocks of every stage, ``[most stages, layouts]``, of layouts that state their stages."""
    pp, chunks = table.pp, table.pp * table.virtual_stages
    index = np.arange(int(chunks.max()))[:, None]
    held = np.where(index < chunks, _even_chunks(sum(layers.values()), chunks, index), 0)
    stated = np.full(held.shape, -1)
    width = min(table.stage_layers.shape[1], len(index))
    stated[:width] = table.stage_layers[:, :width].T
    held = np.where(_stated(stated.T), np.maximum(stated, 0), held)
    end = np.cumsum(held, axis=0)
    start = end - held
    rank, rows = index % pp, np.broadcast_to(np.arange(len(table)), held.shape)
    counts = {kind: np.zeros((max(3, int(pp.max())), len(table))) for kind in (BlockKind.EMBEDDING, BlockKind.HEAD)}
    counts[BlockKind.EMBEDDING][0] = 1.0
    counts[BlockKind.HEAD][pp - 1, np.arange(len(table))] = 1.0
    begin = 0
    for kind, number in layers.items():
        counts[kind] = np.zeros_like(counts[BlockKind.HEAD])
        overlap = np.minimum(end, begin + number) - np.maximum(start, begin)
        np.add.at(counts[kind], (rank, rows), np.maximum(overlap, 0).astype(float))
        begin += number
    return counts


def _even_chunks(total: int, chunks: Ints, index: Ints) -> Ints:
    first, longer, share, num_longer = even_shares(total, chunks)
    return np.where(index == 0, first, np.where(index <= num_longer, longer, share))


def _given_repeated_layers(table: LayoutTable, num_stages: int, each: Floats) -> Floats:
    """``[stages, layouts]``: what each stage states, else ``each`` on all of them."""
    found = np.broadcast_to(each, (num_stages, len(table))).copy()
    width = min(table.stage_recompute_layers.shape[1], num_stages)
    stated = table.stage_recompute_layers[:, :width].T
    found[:width] = np.where((stated >= 0) & (each > 0), stated, found[:width])
    return found


def _replaced(values: Floats, rows: Mask, own: Floats) -> Floats:
    """``values`` with as many stages as ``own`` has, and the layouts of ``rows`` taken from it."""
    grown = np.zeros((max(len(own), len(values)), values.shape[1]))
    grown[: len(values)] = values
    grown[: len(own), rows] = own
    return grown
