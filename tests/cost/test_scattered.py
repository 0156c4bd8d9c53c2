"""All-to-alls that send one copy to each rank and node."""

import numpy as np
import pytest

from glmplan.cost.collective import NETWORK_EFFICIENCY, CollectiveModel
from glmplan.hardware.tiers import Tier
from glmplan.layout.communication import Collective, Communication, Group, Purpose, Scatter

NODE, WIRE = 450e9, 50e9


def tier(name: str, span: int, bandwidth: float) -> Tier:
    return Tier(
        name=name,
        span_devices=span,
        bandwidth_bytes_per_s=bandwidth,
        latency_s=0.0,
        link=name,
        in_switch_reduction=False,
        scale_up=span <= 8,
    )


H100 = CollectiveModel(tiers=(tier("node", 8, NODE), tier("net", 1024, WIRE)), devices_per_node=8)


def seconds(scatter: Scatter | None, ranks: float, size: float) -> float:
    message = Communication(
        name="x",
        purpose=Purpose.EXPERT,
        collective=Collective.ALL_TO_ALL,
        bytes=np.array([size]),
        group=Group(ranks=ranks, stride=1.0),
        backward=False,
        scatter=scatter,
    )
    return float(H100.seconds(message).item())


def test_deepep_between_four_nodes_takes_what_was_measured() -> None:
    """DeepEP on 32 H100, 4,096 tokens of 7,168 bf16 elements to 8 of 256 experts: 3,528 us for the combine (20 SMs)."""
    size = 4096 * 7168 * 2 * 8
    assert seconds(Scatter(targets=8, pool=256), 32.0, size) == pytest.approx(3528e-6, rel=0.05)


def test_between_nodes_only_one_copy_a_node_crosses_the_network() -> None:
    scatter = Scatter(targets=8, pool=256)
    size = 8e9
    crossing = size / 8 * float(scatter.reached(4.0)) * 3 / 4
    assert seconds(scatter, 32.0, size) == pytest.approx(crossing / (WIRE * NETWORK_EFFICIENCY))


@pytest.mark.parametrize("ranks", [2.0, 8.0, 16.0, 64.0])
def test_one_copy_is_never_slower_than_all_copies(ranks: float) -> None:
    assert seconds(Scatter(targets=8, pool=256), ranks, 1e9) <= seconds(None, ranks, 1e9) * (1 + 1e-9)


def test_neighbouring_experts_on_one_node_cross_the_network_once() -> None:
    scatter = Scatter(targets=8, pool=256, contiguous=True)
    assert seconds(scatter, 64.0, 8e9) == pytest.approx(1e9 * 7 / 8 / (WIRE * NETWORK_EFFICIENCY))


def test_alone_there_is_nothing_to_send() -> None:
    assert seconds(Scatter(targets=2, pool=8), 1.0, 1e9) == 0.0
