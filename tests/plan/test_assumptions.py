"""What a plan takes for granted."""

import pytest

from glmplan.architecture.catalog import load_architecture
from glmplan.cost.extrapolation import matmuls_outside
from glmplan.cost.step import CostModel, cost_model
from glmplan.hardware.catalog import load_cluster
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout
from glmplan.plan.assumptions import flagged_assumptions
from glmplan.precision import Precision
from glmplan.software.catalog import load_stack
from glmplan.workload.job import TrainingJob


def model_of(
    cluster: str, gpus: int, *, model: str = "llama3-8b", precision: Precision = Precision.BF16, seq_len: int = 4096
) -> CostModel:
    job = TrainingJob(architecture=load_architecture(model), seq_len=seq_len, global_batch=gpus, precision=precision)
    return cost_model(job, load_cluster(cluster).sized(gpus), load_stack("megatron-core"))


def flagged(model: CostModel, layout: ParallelLayout) -> str:
    estimate = model.estimate(LayoutTable.of(layout)).row(0)
    return "\n".join(flagged_assumptions(model, layout, estimate))


def test_a_measured_device_leaves_the_stack_and_what_lies_between_nodes() -> None:
    text = flagged(model_of("dgx-h100-pod", 16), ParallelLayout(tp=8, dp=2))
    assert "megatron-core was never measured on h100-sxm-80gb" in text
    assert "Between nodes collectives reach a share of the wire rate" in text
    assert "matmuls were measured on" not in text
    assert "Attention was measured on" not in text
    assert "Collectives inside" not in text


def test_one_node_has_no_network_and_one_device_no_collectives() -> None:
    assert "Between nodes" not in flagged(model_of("dgx-h100-pod", 8), ParallelLayout(tp=8))
    assert "ollective" not in flagged(model_of("mi300x-cluster", 1), ParallelLayout())


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ("dgx-b300-pod", "bf16 matmuls were measured on b200-sxm, of the same generation as b300-sxm (Blackwell)"),
        ("mi300x-cluster", "bf16 matmuls were measured on h100-sxm-80gb, another generation than mi300x"),
    ],
)
def test_a_borrowed_table_names_its_lender_and_how_near_it_is(cluster: str, words: str) -> None:
    assert words in flagged(model_of(cluster, 8), ParallelLayout(tp=8))


def test_assumed_figures_of_a_profile_are_said_once_and_only_those_that_are_used() -> None:
    text = flagged(model_of("laptop-cpu", 1, precision=Precision.FP32), ParallelLayout())
    assert "generic-cpu dense fp32 peak (100 GFLOP/s) is assumed" in text
    assert "generic-cpu memory bandwidth (20 GB/s) is assumed" in text
    assert "bf16 peak" not in text
    assert "No fp32 matmul of generic-cpu or a device like it was measured" in text
    assert "No attention kernel of generic-cpu" in text


def test_a_price_of_a_like_node_is_said() -> None:
    assert "No price of dgx-h100 is known; that of a like node stands in" in flagged(
        model_of("dgx-h100-pod", 8), ParallelLayout(tp=8)
    )


def test_shapes_beyond_the_table_are_counted_and_shapes_inside_are_not() -> None:
    small, large = model_of("dgx-h100-pod", 1), model_of("dgx-h100-pod", 1, model="llama3-405b", seq_len=131072)
    inside, outside = (matmuls_outside(model, LayoutTable.of(ParallelLayout())) for model in (small, large))
    assert 0 <= inside.flops_fraction < outside.flops_fraction <= 1
    assert 131072 in outside.largest
    assert "outside the measured table" in flagged(large, ParallelLayout())


def test_nothing_lies_outside_where_there_is_no_table() -> None:
    model = model_of("laptop-cpu", 1, precision=Precision.FP32)
    assert matmuls_outside(model, LayoutTable.of(ParallelLayout())).flops_fraction == 0
