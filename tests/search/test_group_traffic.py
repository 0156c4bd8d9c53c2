"""The placement problem of a layout: its groups, what they send, and what the order of today is worth."""

from typing import Any

import pytest

from glmplan.cost.step import CostModel, cost_model
from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout, Sharding
from glmplan.search.group_placement import nested_placement, place_groups, placement_seconds
from glmplan.search.group_traffic import placement_problem, tier_parts
from glmplan.software.catalog import load_stack
from tests.small_jobs import cluster_of, job_of, model

LAYOUTS: dict[str, dict[str, Any]] = {
    "tensor and data": {"tp": 4, "pp": 2, "dp": 4, "sharding": Sharding.ZERO1, "shard_group": 4},
    "context": {"tp": 2, "cp": 4, "dp": 4, "sequence_parallel": True},
    "hybrid shards": {"tp": 2, "dp": 16, "sharding": Sharding.HSDP, "shard_group": 4},
    "experts": {"tp": 2, "ep": 4, "pp": 2, "dp": 8},
    "experts over context": {"cp": 2, "ep": 4, "dp": 16},
    "pipeline": {"pp": 4, "dp": 8},
}


def on_four_nodes(kind: str = "experts") -> CostModel:
    job = job_of(model(kind, hidden=512), seq_len=1024, global_batch=64)
    return cost_model(job, cluster_of("dgx-a100-pod", 32), load_stack("megatron-core"))


def layout_of(name: str) -> ParallelLayout:
    fields = LAYOUTS[name]
    return ParallelLayout(**fields, grad_accum=64 // fields["dp"])


@pytest.mark.parametrize("name", LAYOUTS)
def test_dimensions_and_tiers_hold_all_devices(name: str) -> None:
    problem = placement_problem(on_four_nodes(), layout_of(name))
    sizes = 1
    for size in problem.dimensions.values():
        sizes *= size
    assert sizes == 32
    assert problem.tiers == (8, 4)
    assert all(set(members) <= set(problem.dimensions) for members in problem.groups.values())


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_order_in_which_ranks_are_laid_out_is_no_better_than_the_program(name: str) -> None:
    problem = placement_problem(on_four_nodes(), layout_of(name))
    found, today = place_groups(problem), placement_seconds(problem, nested_placement(problem))
    assert found.gap == 0.0
    assert found.seconds <= today * (1 + 1e-9)
    if "pp" not in problem.dimensions:
        assert today <= 1.02 * found.seconds


def test_a_small_model_with_many_micro_batches_wants_its_pipeline_inside_the_node() -> None:
    # gradients are sent once a step, activations 16 times: today's order puts data ranks inside, stages across
    problem = placement_problem(on_four_nodes("dense"), layout_of("pipeline"))
    found = place_groups(problem)
    assert found.factors["pp"] == (4, 1)
    assert nested_placement(problem)["pp"] == (1, 4)
    assert found.seconds < 0.7 * placement_seconds(problem, nested_placement(problem))


def test_the_nested_order_costs_what_the_cost_model_says() -> None:
    cost, layout = on_four_nodes("dense"), layout_of("tensor and data")
    problem = placement_problem(cost, layout)
    nested = nested_placement(problem)
    assert nested == {"tp": (4, 1), "dp": (2, 2), "pp": (1, 2)}
    inside = problem.seconds("tensor_parallel: tp", (4, 1))
    assert inside > 0
    assert problem.seconds("tensor_parallel: tp", (1, 4)) > inside


def test_a_bad_order_is_seen_to_be_bad() -> None:
    problem = placement_problem(on_four_nodes(), layout_of("context"))
    spread = {"tp": (1, 2), "cp": (2, 2), "dp": (4, 1)}
    assert placement_seconds(problem, spread) > 1.2 * place_groups(problem).seconds


def test_a_layout_smaller_than_the_cluster_is_refused() -> None:
    with pytest.raises(InputError, match="uses 8 of 32 devices"):
        placement_problem(on_four_nodes(), ParallelLayout(dp=8, grad_accum=8))


def test_tiers_multiply_to_the_devices() -> None:
    assert tier_parts(cluster_of("dgx-h100-pod", 1024)) == (8, 32, 4)
    assert tier_parts(cluster_of("dgx-a100-pod", 4)) == (4,)
