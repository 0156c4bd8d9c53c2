"""What the groups of a layout send in a step, as data of the placement program.

The dimensions are read off the groups themselves: in the order in which ranks are laid out today every group covers the
ranks from its stride to stride times size, and the borders of all groups cut the grid into dimensions.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from glmplan.cost.collective import CollectiveModel
from glmplan.cost.step import CostModel
from glmplan.errors import InputError
from glmplan.hardware.cluster import Cluster
from glmplan.hardware.tiers import Tier
from glmplan.layout.communication import Communication, Group, Purpose
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout
from glmplan.layout.partition import partition_block
from glmplan.layout.rank_step import rank_step
from glmplan.search.group_placement import Factors, PlacementProblem
from glmplan.workload.graph import LAYER_KINDS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Message:
    communication: Communication
    times: float
    first: int
    """Ranks between neighbours of the group."""
    last: int
    """Ranks that the group (or its chain) lies among."""


def placement_problem(model: CostModel, layout: ParallelLayout) -> PlacementProblem:
    """The groups of ``layout`` on the cluster of ``model``, with the seconds of their messages before any overlap.

    Raises InputError where groups do not nest or do not fill the cluster.
    """
    if layout.world_size != model.cluster.num_devices:
        raise InputError(
            f"placement: {layout.label()} uses {layout.world_size} of {model.cluster.num_devices} devices;"
            " use a cluster of its size"
        )
    messages = [message for message in _messages(model, layout) if message.times > 0]
    borders = sorted({1, layout.world_size, *(border for each in messages for border in (each.first, each.last))})
    if any(outer % inner for inner, outer in pairwise(borders)):
        raise InputError(f"placement: the groups of {layout.label()} do not nest; their borders are {borders}")
    grid = {_name(layout, inner, outer): (inner, outer) for inner, outer in pairwise(borders)}
    members: dict[str, tuple[str, ...]] = {}
    of_group: dict[str, list[_Message]] = {}
    for message in messages:
        inside = [name for name, (inner, outer) in grid.items() if message.first <= inner and outer <= message.last]
        group = f"{message.communication.purpose}: {' '.join(inside)}"
        members[group] = tuple(inside)
        of_group.setdefault(group, []).append(message)

    def seconds(group: str, factors: Factors) -> float:
        return sum(message.times * _seconds(model.collectives, message, factors) for message in of_group[group])

    return PlacementProblem(
        dimensions={name: outer // inner for name, (inner, outer) in grid.items()},
        tiers=tier_parts(model.cluster),
        groups=members,
        seconds=seconds,
    )


def tier_parts(cluster: Cluster) -> tuple[int, ...]:
    """How many parts of the tier below make up each tier; 1 where a tier is not whole in the next."""
    parts, spanned = [], 1
    for tier in cluster.tiers[:-1]:
        whole = tier.span_devices % spanned == 0 and cluster.num_devices % tier.span_devices == 0
        parts.append(tier.span_devices // spanned if whole else 1)
        spanned *= parts[-1]
    return (*parts, cluster.num_devices // spanned)


def _messages(model: CostModel, layout: ParallelLayout) -> list[_Message]:
    """Of a mean stage in a step."""
    table = LayoutTable.of(layout)
    kernels = model.stack.kernels
    messages = []
    for block in model.blocks:
        passages = layout.grad_accum * (block.count / layout.pp if block.kind in LAYER_KINDS else 1.0)
        on_rank = partition_block(
            block, table, model.job, saves_gathered_input=kernels.saves_gathered_input, experts=kernels.experts
        )
        for name in on_rank.graph:
            work = on_rank.graph.nodes[name]["work"]
            if isinstance(work, Communication):
                messages.append(_message(work, passages))
    step = rank_step(model.blocks, table, model.job, model.stack)
    return messages + [_message(sent, 1.0) for sent in (*step.boundary, *step.data)]


def _message(sent: Communication, times: float) -> _Message:
    first, ranks = _number(sent.group.stride), _number(sent.group.ranks)
    chain = ranks if sent.group.chain is None else _number(sent.group.chain)
    active = ranks > 1 and float(np.max(sent.bytes)) > 0
    count = float(np.max(sent.count)) if active else 0.0
    return _Message(communication=sent, times=times * count, first=first, last=first * chain)


def _number(value: object) -> int:
    return round(float(np.max(np.asarray(value, dtype=float))))


def _seconds(collectives: CollectiveModel, message: _Message, factors: Factors) -> float:
    """Of one message whose group lies on the tiers as ``factors`` say: two tiers matter, the first and the widest."""
    ranks = 2 if message.communication.purpose is Purpose.PIPELINE else math.prod(factors)
    widest = max((tier for tier, factor in enumerate(factors) if factor > 1), default=0)
    inner = collectives.tiers[0]
    if widest == 0:
        tiers: tuple[Tier, ...] = (inner,)
        group = Group(ranks=float(ranks), stride=1.0)
    else:
        together = 1 if message.communication.purpose is Purpose.PIPELINE else factors[0]
        slowest = min(tier.bandwidth_bytes_per_s for tier in collectives.tiers[1 : widest + 1])
        outer = replace(
            collectives.tiers[widest], bandwidth_bytes_per_s=slowest, span_devices=max(ranks, 2) * inner.span_devices
        )
        group, tiers = Group(ranks=float(ranks), stride=inner.span_devices / together), (inner, outer)
    there = replace(collectives, tiers=tiers)
    return float(np.max(there.seconds(replace(message.communication, group=group))))


def _name(layout: ParallelLayout, inner: int, outer: int) -> str:
    """A dimension by the degrees that it is part of, such as ``tp`` or ``dp[2:8]``."""
    edges = {"tp": (1, layout.tp), "cp": (layout.tp, layout.tp * layout.cp)}
    edges["dp"] = (layout.tp * layout.cp, layout.tp * layout.cp * layout.dp)
    edges["pp"] = (layout.tp * layout.cp * layout.dp, layout.world_size)
    for name, (low, high) in edges.items():
        if (inner, outer) == (low, high):
            return name
        if low <= inner and outer <= high:
            return f"{name}[{inner // low}:{outer // low}]"
    return f"ranks[{inner}:{outer}]"
