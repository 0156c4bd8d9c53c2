"""Expert kernels of the stacks."""

import pytest

from glmplan.software.catalog import load_stack


@pytest.mark.parametrize("name", ["megatron-bridge", "megatron-bridge-partial-graph", "megatron-bridge-full-graph"])
def test_performance_recipes_force_balance_and_keep_experts_whole(name: str) -> None:
    stack = load_stack(name)
    assert stack.kernels.experts.load_violation == 0.0
    assert stack.kernels.experts.dispatch == "multicast"
    assert stack.support.expert_tp == "one"


def test_a_stack_that_says_nothing_splits_experts_as_the_rest_and_has_the_published_imbalance() -> None:
    stack = load_stack("megatron-core")
    assert stack.support.expert_tp == "tp"
    assert stack.kernels.experts.load_violation == 0.04  # Wang 2024, arXiv:2408.15664, table 2
