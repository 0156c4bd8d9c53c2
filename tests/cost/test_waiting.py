"""What a step waits for: the slowest device, messages between stages, key exchanges beside attention."""

import numpy as np
import pytest

from glmplan.cost.stragglers import slowest_of
from glmplan.layout.parallel_layout import ContextKind, LayoutTable, ParallelLayout
from tests.small_jobs import costs


def part(layout: ParallelLayout, name: str, stack: str = "megatron-core", devices: int = 16) -> float:
    """Seconds of one part of a dense model's step."""
    model = costs("dense", devices, stack)
    return float(model.times(model.work(LayoutTable.of(layout)))[name].item())


def test_computing_waits_for_the_slowest_of_all_devices() -> None:
    layout = ParallelLayout(pp=2, dp=8, grad_accum=1)
    spread = costs("dense", 16).stack["device_spread"]
    computing = sum(part(layout, name) for name in ("forward_s", "backward_s", "recompute_s", "pipeline_bubble_s"))
    expected = computing * slowest_of(np.array([16.0]), spread).item()
    assert part(layout, "straggler_s") == pytest.approx(expected)


def test_every_message_between_stages_costs_the_host_its_time() -> None:
    model = costs("dense", 16)
    layout = ParallelLayout(pp=2, dp=2, grad_accum=4)
    table = LayoutTable.of(layout)
    per_message = model.stack["host_launches_per_transfer"] * model.launch_s
    assert model.work(table).step.transfers.item() == 2 * 4  # activations forward, gradients backward
    assert part(layout, "pipeline_transfer_s") >= 8 * per_message
    assert part(ParallelLayout(dp=4, grad_accum=4), "pipeline_transfer_s") == 0.0


def test_a_ring_hides_what_a_gather_shows() -> None:
    """With the same bytes, keys that travel beside attention are never more visible than those attention waits for."""
    ring, gather = (
        part(ParallelLayout(cp=2, dp=4, grad_accum=2, context=kind), "context_parallel_s")
        for kind in (ContextKind.RING, ContextKind.ALL_GATHER)
    )
    assert 0.0 < ring < gather


def test_a_ring_pays_for_merging_what_a_gather_computes_at_once() -> None:
    ring, gather = (
        part(ParallelLayout(cp=2, dp=4, grad_accum=2, context=kind), "backward_s")
        for kind in (ContextKind.RING, ContextKind.ALL_GATHER)
    )
    assert gather <= ring
