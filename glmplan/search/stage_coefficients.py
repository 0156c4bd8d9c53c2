"""A layout's stages as data of the integer program, measured on the cost model itself.

Bytes and parameters of a stage grow linearly with its layers once it has one. So stages are made up that hold one
layer, and one more of each run and option, and the cost model is asked what they need.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glmplan.cost.step import CostModel
from glmplan.cost.step_work import StepWork
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Recompute
from glmplan.layout.stages import BlockCounts, Stages, split_into_stages
from glmplan.layout.state_shards import state_shards
from glmplan.search.stage_problem import Floats, Ints, StageProblem
from glmplan.search.stage_seconds import block_seconds
from glmplan.workload.graph import LAYER_KINDS, BlockKind


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StagePart:
    """Consecutive stages on like devices."""

    model: CostModel
    num_stages: int
    capacity_bytes: float
    """Of a device's memory, what a stage may fill."""


def stage_problem(parts: Sequence[StagePart], layout: ParallelLayout, *, partial: bool) -> StageProblem:
    """The program that splits the layers of ``layout`` over the stages of ``parts``, in this order.

    ``partial``: a fully recomputing layout may recompute only the first layers of a stage, or none. Gradient exchange
    and optimizer are taken in proportion to a stage's parameters; the share of them that is hidden stays as with even
    stages. Layouts that offload are no input of this: they are not linear in their layers.
    """
    table, options = LayoutTable.of(even(layout)), options_of(layout, partial=partial)
    where = np.repeat(np.arange(len(parts)), [part.num_stages for part in parts])
    work = [part.model.work(table) for part in parts]
    seconds = [block_seconds(part.model, each) for part, each in zip(parts, work, strict=True)]
    probes = _Probes.of(parts[0].model, layout, options)
    needs = [part.model.stage_bytes(probes.table, probes.stages) for part in parts]
    held = np.stack([needs[part][:, stage] for stage, part in enumerate(where)], axis=1)  # [moments, stages, probes]
    layer_bytes, fixed_bytes = probes.linear(held)
    once = [_once_s(part.model, each, table, probes) for part, each in zip(parts, work, strict=True)]
    bubbles = [each.step.bubble.factor(own.weight_gradient_share) for each, own in zip(work, seconds, strict=True)]
    bubble = float(np.max(bubbles))
    fixed_s = np.zeros(layout.pp)
    fixed_s[0] += seconds[0].once[BlockKind.EMBEDDING][0]
    fixed_s[-1] += seconds[-1].once[BlockKind.HEAD][0]
    layer_s = [[[own.with_option(kind, option)[0] for option in options] for kind in probes.kinds] for own in seconds]
    fewest = np.ones(layout.pp * layout.virtual_stages, dtype=np.int64)
    fewest[[0, -1]] = 0
    return StageProblem(
        num_layers=probes.num_layers,
        layer_s=np.array(layer_s)[where],
        fixed_s=fixed_s,
        layer_once_s=np.stack([once[part][0][stage] for stage, part in enumerate(where)]),
        fixed_once_s=np.array([once[part][1][stage] for stage, part in enumerate(where)]),
        layer_bytes=layer_bytes,
        fixed_bytes=fixed_bytes,
        workspace_bytes=np.max([probes.workspace(each) for each in needs], axis=0),
        capacity_bytes=np.array([parts[int(part)].capacity_bytes for part in where]),
        fewest_layers=fewest,
        slowest_weight=layout.grad_accum - bubble,
        passage_weight=bubble,
        first_option_first=len(options) > 1,
    )


def options_of(layout: ParallelLayout, *, partial: bool) -> tuple[Recompute, ...]:
    """What may become of a layer's activations; of a stage's layers the first ones do what comes first."""
    full = layout.recompute is Recompute.FULL
    return (Recompute.FULL, Recompute.NONE) if full and partial else (layout.recompute,)


def even(layout: ParallelLayout) -> ParallelLayout:
    """``layout`` with even stages that all recompute alike."""
    return layout.model_copy(update={"stage_layers": None, "recompute_layers": None, "stage_recompute_layers": None})


def _once_s(model: CostModel, work: StepWork, table: LayoutTable, probes: "_Probes") -> tuple[Floats, Floats]:
    """Seconds once a step of a layer, ``[stages, runs]``, and of what is no layer, ``[stages]``."""
    arch = model.job.architecture

    def parameters(of: LayoutTable, stages: Stages) -> Floats:
        shards = state_shards(arch, of, stages)
        return np.where(stages.exists, shards.dense + shards.experts, 0.0)

    times = model.times(work)
    exchanged_s = float((times["optimizer_s"] + times["data_parallel_s"])[0])
    most = float(parameters(table, split_into_stages(model.blocks, table)).max())
    layer, fixed = probes.linear(parameters(probes.table, probes.stages)[None] * exchanged_s / most)
    return layer[0, :, :, 0], fixed[0]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Probes:
    """Made-up stages, one set a column: one layer of the first run with the last option; the same and one layer more
    of each run and option; the same while a layer of each run is repeated somewhere."""

    table: LayoutTable
    stages: Stages
    kinds: tuple[BlockKind, ...]
    """The runs."""
    num_layers: Ints
    num_options: int

    @classmethod
    def of(cls, model: CostModel, layout: ParallelLayout, options: tuple[Recompute, ...]) -> "_Probes":
        blocks = {block.kind: block.count for block in model.blocks if block.kind in LAYER_KINDS}
        kinds = tuple(blocks)
        more = [(kind, option) for kind in kinds for option in options]
        size, pp = 1 + len(more) + len(kinds), layout.pp

        def zeros() -> BlockCounts:
            return {kind: np.zeros((pp, size)) for kind in kinds}

        counts, repeated, partly = zeros(), zeros(), zeros()
        of_option = {Recompute.FULL: repeated, Recompute.SELECTIVE: partly}
        for column, (kind, option) in [
            *((column, (kinds[0], options[-1])) for column in range(size)),
            *enumerate(more, start=1),
        ]:
            counts[kind][:, column] += 1.0
            if option in of_option:
                of_option[option][kind][:, column] += 1.0
        ends = {BlockKind.EMBEDDING: np.zeros((pp, size)), BlockKind.HEAD: np.zeros((pp, size))}
        ends[BlockKind.EMBEDDING][0], ends[BlockKind.HEAD][-1] = 1.0, 1.0
        everywhere = {kind: np.full(size, float(number)) for kind, number in blocks.items()}
        anywhere = {kind: np.zeros(size) for kind in kinds}
        if Recompute.FULL in options:
            for index, kind in enumerate(kinds):
                anywhere[kind][1 + len(more) + index] = 1.0
        selective = {kind: everywhere[kind] * (options == (Recompute.SELECTIVE,)) for kind in kinds}
        stages = Stages(
            counts=counts | ends,
            repeated=repeated,
            partly_repeated=partly,
            exists=np.ones((pp, size), dtype=bool),
            position=np.tile(np.arange(pp, dtype=float)[:, None], (1, size)),
            all_counts=everywhere | {kind: np.ones(size) for kind in ends},
            all_repeated=anywhere,
            all_partly_repeated=selective,
        )
        table = LayoutTable.of(*[even(layout)] * size)
        number = np.array(list(blocks.values()))
        return cls(table=table, stages=stages, kinds=kinds, num_layers=number, num_options=len(options))

    def linear(self, values: Floats) -> tuple[Floats, Floats]:
        """``[moments, stages, probes]`` to ``[moments, stages, runs, options]`` a layer and ``[moments, stages]``."""
        base, runs = values[..., 0], len(self.num_layers)
        slope = values[..., 1 : 1 + runs * self.num_options] - base[..., None]
        slope = slope.reshape(*values.shape[:2], runs, self.num_options)
        return slope, base - slope[..., 0, -1]

    def workspace(self, values: Floats) -> Floats:
        """``[moments, runs, options]``: what is needed on top while a layer is repeated."""
        runs, options = len(self.num_layers), self.num_options
        found = np.zeros((len(values), runs, options))
        found[:, :, 0] = (values[..., 1 + runs * options :] - values[..., :1]).max(axis=1)
        return found
