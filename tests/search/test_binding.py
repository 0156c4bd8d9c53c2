"""What binds a step: known by construction of the machine, and against the sensitivity study."""

from dataclasses import replace

import pytest

from glmplan.layout.parallel_layout import ParallelLayout, Sharding
from glmplan.plan.document import Binding
from glmplan.search.binding import bindings
from glmplan.search.changed_problem import changed_problem
from glmplan.search.planner import load_problem
from glmplan.search.sensitivity import sensitivity
from tests.search.planned_jobs import small_plan, small_problem
from tests.search.test_planner import request_for

ACROSS = ParallelLayout(dp=16, sharding=Sharding.ZERO1, shard_group=16, grad_accum=2)
"""Gradients travel between the two nodes."""
INSIDE = ParallelLayout(tp=8, pp=2, sequence_parallel=True, grad_accum=32)
"""Activations travel inside a node, little between them."""


def share(found: tuple[Binding, ...], word: str) -> float:
    return sum(binding.share for binding in found if word in binding.resource)


@pytest.mark.parametrize("layout", [ACROSS, INSIDE])
def test_shares_are_sorted_and_make_at_most_the_whole_step(layout: ParallelLayout) -> None:
    found = bindings(small_problem().model, layout)
    shares = [binding.share for binding in found]
    assert shares == sorted(shares, reverse=True)
    assert 0.9 < sum(shares) < 1.02


def test_on_a_slow_network_the_network_binds_and_the_technique_is_named() -> None:
    slow = changed_problem(small_problem(), factors={"node.scale_out.nic_bandwidth": 0.02})
    first = bindings(slow.model, ACROSS)[0]
    assert first.resource == "the network between nodes (ib-ndr, data parallelism)"
    assert first.share > 0.5
    assert share(bindings(small_problem().model, ACROSS), "between nodes") < first.share


def test_on_slow_links_inside_the_node_these_bind() -> None:
    slow = changed_problem(small_problem(), factors={"node.scale_up.bandwidth": 0.02})
    first = bindings(slow.model, INSIDE)[0]
    assert first.resource.startswith("the links inside a node (nvlink4, tensor parallelism")


def test_on_a_slow_host_its_launches_bind() -> None:
    model = small_problem().model
    first = bindings(replace(model, launch_s=model.launch_s * 50), ACROSS)[0]
    assert first.resource == "the host's kernel launches"
    assert first.share > 0.8


@pytest.mark.parametrize(
    ("figure", "resource"),
    [("device.peak_flops", "matrix rate"), ("device.memory_bandwidth", "memory bandwidth")],
)
def test_a_slow_device_binds_by_what_is_slow(figure: str, resource: str) -> None:
    slow = changed_problem(load_problem(request_for()), factors={figure: 0.05})
    layout = ParallelLayout(dp=8, sharding=Sharding.ZERO1, shard_group=8, grad_accum=2)
    assert resource in bindings(slow.model, layout)[0].resource


def test_one_device_waits_for_no_links() -> None:
    problem = load_problem(request_for(num_gpus=1))
    resources = [binding.resource for binding in bindings(problem.model, ParallelLayout(grad_accum=16))]
    assert not any("links" in name or "network" in name for name in resources)


def test_shares_are_the_elasticities_of_the_sensitivity_study() -> None:
    layout = small_plan().chosen.layout
    study = sensitivity(small_problem(), layout, swing_fraction=0.2, replan=False, progress=lambda name, done: None)
    elasticities = {row.name: row.throughput_elasticity for row in study.rows}
    found = bindings(small_problem().model, layout)
    for name, word in (("device.peak_flops", "matrix rate"), ("device.memory_bandwidth", "memory bandwidth")):
        assert share(found, word) == pytest.approx(elasticities[name], abs=0.02)
