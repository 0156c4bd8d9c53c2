"""What binds a layout: how far its step moves with each resource of machine and stack.

The share of a resource x is d ln(throughput) / d ln(x) at the layout as it is, from one nudge of x upwards. Times grow
in proportion when all rates fall in proportion, so the shares of all rates and delays make the whole step.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from glmplan.cost.collective import CollectiveModel
from glmplan.cost.rescaling import rescaled_collectives, rescaled_device
from glmplan.cost.step import CostModel
from glmplan.hardware.tiers import Tier
from glmplan.layout.communication import Group
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout
from glmplan.layout.placement import context_group, data_group, expert_group, pipeline_group, tensor_group
from glmplan.plan.document import Binding

NUDGE = 0.01
"""Relative change of a resource: far above rounding, far below where another resource takes over."""
LEAST_SHARE = 0.005
"""Smaller shares are not told."""
TECHNIQUES = {
    "tensor_parallel_s": ("tensor parallelism", tensor_group),
    "context_parallel_s": ("context parallelism", context_group),
    "expert_parallel_s": ("expert parallelism", expert_group),
    "pipeline_transfer_s": ("pipeline parallelism", pipeline_group),
    "data_parallel_s": ("data parallelism", data_group),
}
"""Part of the step -> whose messages it waits for, and the ranks that exchange them."""


def bindings(model: CostModel, layout: ParallelLayout) -> tuple[Binding, ...]:
    """The resources that the step of ``layout`` waits for, strongest first."""
    table = LayoutTable.of(layout)
    work = model.work(table)
    parts = {name: float(seconds[0]) for name, seconds in model.times(work).items()}
    whole_s = sum(parts.values())
    shares = {
        resource: _share(whole_s, changed, table) for resource, changed in _nudged(model, table, parts, LEAST_SHARE)
    }
    faster_host = replace(model, launch_s=model.launch_s / (1.0 + NUDGE))
    launched_s = sum(float(seconds[0]) for seconds in faster_host.times(work).values())
    shares["the host's kernel launches"] = math.log(whole_s / launched_s) / math.log1p(NUDGE)
    shares["copies between device and host"] = parts["offload_s"] / whole_s
    shares["the fixed cost of a step"] = parts["other_s"] / whole_s
    found = [Binding(resource=name, share=share) for name, share in shares.items() if share >= LEAST_SHARE]
    return tuple(sorted(found, key=lambda binding: -binding.share))


def _share(whole_s: float, changed: CostModel, table: LayoutTable) -> float:
    changed_s = sum(float(seconds[0]) for seconds in changed.times(changed.work(table)).values())
    return math.log(whole_s / changed_s) / math.log1p(NUDGE)


def _nudged(
    model: CostModel, table: LayoutTable, parts: dict[str, float], least: float
) -> Iterator[tuple[str, CostModel]]:
    """Each resource in words, with ``model`` where there is a little more of it."""
    more = 1.0 + NUDGE
    for name, flops, bandwidth in (("matrix rate", more, 1.0), ("memory bandwidth", 1.0, more)):
        device = rescaled_device(model.device, flops_ratio=flops, bandwidth_ratio=bandwidth)
        yield f"the device's {name}", replace(model, device=device)
    waits = {name: parts[name] for name in TECHNIQUES if parts[name] > 0}
    if sum(waits.values()) < least * sum(parts.values()):
        return
    tiers = model.collectives.tiers
    inside = [tier for tier in tiers if tier.scale_up]
    outside = [tier for tier in tiers if not tier.scale_up]
    near, far = _crossing(table, waits, inside, least * sum(parts.values()))
    if inside:
        changed = _faster(model.collectives, bandwidth=more, scale_up=True)
        yield (
            f"the links inside a node ({', '.join([inside[0].link, *(near or far)])})",
            replace(model, collectives=changed),
        )
    reached = _reached(outside, table)
    if reached:
        changed = _faster(model.collectives, bandwidth=more, scale_up=False)
        yield _network_words(outside, reached, far), replace(model, collectives=changed)
    changed = replace(
        rescaled_collectives(model.collectives, bandwidth_ratio=1.0, latency_ratio=1.0 / more),
        tiers=tuple(replace(tier, latency_s=tier.latency_s / more) for tier in tiers),
    )
    yield "the latency of the links", replace(model, collectives=changed)


def _faster(collectives: CollectiveModel, *, bandwidth: float, scale_up: bool) -> CollectiveModel:
    """More bandwidth on all links within the scale-up domain, or on all beyond it: levels of a fabric without
    oversubscription bind together, one alone gains nothing."""
    tiers = tuple(
        replace(tier, bandwidth_bytes_per_s=tier.bandwidth_bytes_per_s * bandwidth)
        if tier.scale_up == scale_up
        else tier
        for tier in collectives.tiers
    )
    curves_ratio = bandwidth if collectives.tiers[0].scale_up == scale_up else 1.0
    moved = rescaled_collectives(collectives, bandwidth_ratio=curves_ratio, latency_ratio=1.0)
    return replace(moved, tiers=tiers)


def _crossing(
    table: LayoutTable, waits: dict[str, float], inside: list[Tier], least_s: float
) -> tuple[list[str], list[str]]:
    """Techniques whose messages stay within the scale-up domain, and those whose messages leave it."""
    domain = max((tier.span_devices for tier in inside), default=1)
    near: list[str] = []
    far: list[str] = []
    for name in sorted(waits, key=lambda part: -waits[part]):
        words, group_of = TECHNIQUES[name]
        if waits[name] >= least_s:
            (far if _leaves(group_of(table), domain) else near).append(words)
    return near, far


def _leaves(group: Group, domain: int) -> bool:
    """Whether some group of the kind has ranks in two domains of ``domain`` devices."""
    span = int(np.atleast_1d(group.span)[0])
    return span > domain or domain % span != 0


def _reached(outside: list[Tier], table: LayoutTable) -> list[Tier]:
    """The fabric's level that limits what all devices of the layout send: the slowest of those they reach."""
    devices = int(table.world_size[0])
    inner = [index for index, tier in enumerate(outside) if tier.span_devices >= devices]
    reached = outside[: inner[0] + 1] if inner else outside
    slowest = min((tier.bandwidth_bytes_per_s for tier in reached), default=0.0)
    return [tier for tier in reached if tier.bandwidth_bytes_per_s <= slowest * (1.0 + NUDGE)][:1]


def _network_words(outside: list[Tier], reached: list[Tier], techniques: list[str]) -> str:
    """The level that limits is named where it is not the nodes' own cards."""
    (tier,) = reached
    level = "" if tier is outside[0] else f" at its {tier.name}"
    return f"the network between nodes{level} ({', '.join([tier.link, *techniques])})"
