"""The step's work on the measured device and links, before any constant of a software stack; and its times in a stack.

What one micro-batch of one block takes depends on few columns, so it is computed once for each distinct combination and
handed to the rows that share it. Only what depends on the whole layout is computed row by row, in NumPy.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.cost.block import BlockParts, block_parts, block_times
from glmplan.cost.block_work import BlockWork
from glmplan.cost.collective import CollectiveModel
from glmplan.cost.estimate import TimeBreakdown
from glmplan.cost.host import HostWork, gradient_waiting_s, waiting_s
from glmplan.cost.overlap import exposed_s
from glmplan.cost.roofline import DeviceModel
from glmplan.cost.stragglers import slowest_of
from glmplan.layout.rank_step import RankStep
from glmplan.layout.stages import BlockCounts
from glmplan.software.stack import Stack
from glmplan.workload.graph import LAYER_KINDS, BlockKind

Floats = npt.NDArray[np.float64]
TIME_PARTS = tuple(TimeBreakdown.model_fields)
COMPUTING = ("forward_s", "backward_s", "recompute_s", "pipeline_bubble_s")
"""Parts that take longer on a slower device; a bubble is other stages' computing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepWork:
    """What the layouts of a table do in a step. Everything but the stack's constants is in it."""

    step: RankStep
    blocks: dict[BlockKind, BlockWork]
    """Over the distinct rows."""
    rows: npt.NDArray[np.int64]
    """Which distinct row each layout has."""
    transfer_s: Floats
    """All sends between pipeline stages."""
    data_s: Floats
    """All gradient and parameter collectives of the stage that sends most."""
    host: HostWork | None
    """None where no layout offloads anything."""


def step_work(
    step: RankStep,
    blocks: dict[BlockKind, BlockWork],
    rows: npt.NDArray[np.int64],
    collectives: CollectiveModel,
    host: HostWork | None,
) -> StepWork:
    """The work of ``step``, whose blocks take ``blocks``; no message is hidden yet."""
    sent = np.zeros(step.data_rows.max(initial=-1) + 1)
    for message in step.data:
        sent = sent + collectives.seconds(message) * message.count
    transfer_s = sum(collectives.seconds(message) * message.count for message in step.boundary)
    return StepWork(
        step=step, blocks=blocks, rows=rows, transfer_s=np.asarray(transfer_s), data_s=sent[step.data_rows], host=host
    )


def step_times(work: StepWork, device: DeviceModel, stack: Stack, launch_s: float) -> dict[str, Floats]:
    """Seconds by part. A micro-batch takes what the slowest stage takes; the bubble is the rest of one passage."""
    step, stages = work.step, work.step.stages
    times = {kind: block_times(block, stack, launch_s).take(work.rows) for kind, block in work.blocks.items()}
    per_block = {kind: block_parts(block) for kind, block in times.items()}
    parts = _sums(per_block, stages.counts, stages.repeated, stages.partly_repeated)
    if work.host is not None:
        parts["offload_s"] = waiting_s(work.host, parts["forward_s"], parts["backward_s"] + parts["recompute_s"])
    stage_s = np.where(stages.exists, sum(parts.values()), 0.0)
    slowest, rows = np.argmax(stage_s, axis=0), np.arange(stage_s.shape[1])
    passage = sum(_sums(per_block, stages.all_counts, stages.all_repeated, stages.all_partly_repeated).values())
    if work.host is not None:
        passage = passage + work.host.exchange.num_stages * parts["offload_s"][slowest, rows]
    longest, m = stage_s[slowest, rows], step.micro_batches
    time = {name: np.zeros(len(rows)) for name in TIME_PARTS}
    for name, values in parts.items():
        time[name] = m * values[slowest, rows]
    collective = stack["collective_time_factor"]
    weight_gradients = sum(count * times[kind].weight_gradient_s for kind, count in stages.all_counts.items())
    idle_s = np.maximum(passage - longest, 0.0)
    time["pipeline_bubble_s"] = idle_s * step.bubble.factor(np.asarray(weight_gradients / passage))
    time["pipeline_transfer_s"] = work.transfer_s * collective * stack["pipeline_exposed"]
    time["pipeline_transfer_s"] += step.transfers * stack["host_launches_per_transfer"] * launch_s
    last_backward_s = parts["backward_s"][slowest, rows] + parts["recompute_s"][slowest, rows]
    hiding_s = np.where(step.hides_behind_all, longest * m, last_backward_s)
    time["data_parallel_s"] = np.asarray(exposed_s(work.data_s * collective, hiding_s, stack["data_parallel_exposed"]))
    time["optimizer_s"] = device.transfer_s(step.updated * stack["optimizer_bytes_per_parameter"])
    if work.host is not None:
        time["offload_s"] += gradient_waiting_s(work.host, longest * m, last_backward_s)
        time["optimizer_s"] = time["optimizer_s"] + work.host.update_s
    layers = np.asarray(sum(stages.counts[kind] for kind in LAYER_KINDS if kind in stages.counts)).max(axis=0)
    time["optimizer_s"] = time["optimizer_s"] + layers * stack["host_launches_per_update"] * launch_s
    time["other_s"] = np.full(len(rows), stack["fixed_step_s"])
    computing_s = sum(time[name] for name in COMPUTING)
    time["straggler_s"] = computing_s * slowest_of(step.devices, stack["device_spread"])
    return {name: values * stack["machine_derate"] for name, values in time.items()}


def _sums(
    blocks: dict[BlockKind, BlockParts], counts: BlockCounts, repeated: BlockCounts, partly_repeated: BlockCounts
) -> dict[str, Floats]:
    """Seconds by part of one micro-batch of so many blocks."""
    sums: dict[str, Floats] = {}
    for kind, parts in blocks.items():
        terms = [(counts, parts.once)]
        if kind in repeated:
            terms += [(repeated, parts.repeated), (partly_repeated, parts.partly_repeated)]
        for numbers, seconds in terms:
            for name, each in seconds.items():
                more = numbers[kind] * each
                sums[name] = sums[name] + more if name in sums else more
    return sums
