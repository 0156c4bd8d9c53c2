"""Seconds of 8- and 4-bit linear layers, and of tensor parallelism that runs piece by piece."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmplan.architecture.catalog import load_architecture
from glmplan.cost.device_surfaces import TABLE_QUANTISING_BYTES, model_of, without_quantising
from glmplan.cost.overlap import pieces_exposed_s
from glmplan.cost.roofline import DeviceModel
from glmplan.cost.step import EstimateTable, estimate
from glmplan.hardware.catalog import load_device
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Sharding
from glmplan.precision import Precision, Recipe
from glmplan.software.catalog import load_stack
from glmplan.software.quantisation_kernels import quantisation_kernels
from glmplan.software.stack import Kernels, Stack
from glmplan.validation.kernel_accuracy import tables_of
from glmplan.workload.job import TrainingJob
from glmplan.workload.operation import Matmul, Quantisation, Split
from tests.small_jobs import cluster_of

SECONDS = st.floats(1e-6, 1e2)

# torchao pull request 2185 (8 May 2025): forward and backward of a compiled float8 linear layer with rowwise scales,
# tensorwise products and a rescaling kernel, on one of Meta's H100 (2.4 TB/s); (tokens, inputs, outputs) -> seconds
MEASURED = {
    (16384, 8192, 1280): 1.757e-3,
    (16384, 1024, 8192): 1.193e-3,
    (16384, 8192, 7168): 5.707e-3,
    (16384, 3584, 8192): 3.034e-3,
}


def device(name: str, precision: Precision) -> DeviceModel:
    return model_of(load_device(name), tables_of("h100-sxm-80gb"), precision, Kernels(attention="flash"))


def linear(recipe: Recipe, tokens: float, depth: float, columns: float, *, share: float = 1.0) -> Matmul:
    quantisation = Quantisation(
        kernels=quantisation_kernels("torchao", recipe),
        after_norm=False,
        layers_share=share,
        repeated_share=0.0,
        gathered_share=1.0,
    )
    return Matmul(
        name="linear", tokens=tokens, columns=columns, depth=depth, split=Split.NONE, quantisation=quantisation
    )


@pytest.mark.parametrize(("shape", "measured_s"), MEASURED.items(), ids=str)
def test_a_rowwise_linear_layer_takes_what_torchao_measured(shape: tuple[int, int, int], measured_s: float) -> None:
    model = device("h100-sxm-96gb-hbm2e", Precision.FP8)
    op = linear(Recipe.ROWWISE, *shape)
    predicted_s = sum(model.matmul_passes_s(op)) + sum(model.quantisation_passes_s(op))
    assert float(predicted_s) == pytest.approx(measured_s, rel=0.12)


def test_rowwise_scales_take_longer_than_tensorwise_ones() -> None:
    model = device("h100-sxm-80gb", Precision.FP8)

    def seconds(recipe: Recipe) -> float:
        op = linear(recipe, 16384, 4096, 4096)
        return float(sum(model.matmul_passes_s(op)) + sum(model.quantisation_passes_s(op)))

    assert seconds(Recipe.ROWWISE) > 1.1 * seconds(Recipe.TENSORWISE)


def test_a_matmul_that_no_recipe_touches_runs_at_the_rate_of_bf16() -> None:
    op = replace(linear(Recipe.TENSORWISE, 8192, 4096, 4096), quantisation=None)
    low, high = (
        device("h100-sxm-80gb", precision).matmul_passes_s(op) for precision in (Precision.FP8, Precision.BF16)
    )
    assert np.allclose(low, high)


@given(st.floats(0.0, 1.0))
def test_layers_left_in_bf16_put_the_time_between_both_formats(share: float) -> None:
    model = device("h100-sxm-80gb", Precision.FP8)
    some, none, every = (
        float(sum(model.matmul_passes_s(linear(Recipe.TENSORWISE, 8192, 4096, 4096, share=s))))
        for s in (share, 0.0, 1.0)
    )
    assert some == pytest.approx(share * every + (1 - share) * none)


@pytest.mark.parametrize("dtype", TABLE_QUANTISING_BYTES)
def test_tables_without_quantising_are_faster_but_never_by_more_than_half(dtype: str) -> None:
    table = tables_of("b200-sxm" if dtype == "nvfp4" else "h100-sxm-80gb").matmul_table(dtype)
    assert table is not None
    alone = without_quantising(table, load_device(table.device).memory_bandwidth_bytes_per_s)
    assert (alone.seconds < table.seconds).all()
    assert (alone.seconds >= table.seconds / 2).all()


@given(SECONDS, SECONDS, st.integers(1, 64))
def test_pieces_hide_no_more_than_the_matmul_takes_and_show_at_least_one(
    communication_s: float, matmul_s: float, pieces: int
) -> None:
    seen = float(pieces_exposed_s(communication_s, matmul_s, pieces))
    assert communication_s / pieces <= seen * (1 + 1e-12)
    assert communication_s - matmul_s <= seen <= communication_s


def test_one_piece_hides_nothing() -> None:
    assert float(pieces_exposed_s(3.0, 10.0, 1)) == 3.0


def llama_8b(stack: Stack, precision: Precision, recipe: Recipe | None) -> EstimateTable:
    """On two nodes of H100s, tensor parallel in each."""
    layout = ParallelLayout(
        tp=8, dp=2, sharding=Sharding.FSDP, shard_group=2, micro_batch=4, grad_accum=1, sequence_parallel=True
    )
    job = TrainingJob(
        architecture=load_architecture("llama3-8b"),
        seq_len=8192,
        global_batch=8,
        precision=precision,
        fp8_recipe=recipe,
    )
    return estimate(LayoutTable.of(layout), job, cluster_of("dgx-h100-pod", 16), stack)


FORMATS = [(Precision.BF16, None), (Precision.FP8, Recipe.TENSORWISE), (Precision.FP8, Recipe.ROWWISE)]


@pytest.mark.parametrize(("precision", "recipe"), FORMATS, ids=str)
def test_asynchronous_tensor_parallelism_shows_less_and_is_faster(precision: Precision, recipe: Recipe | None) -> None:
    stack = load_stack("torchtitan")
    pieces = stack.model_copy(update={"kernels": stack.kernels.model_copy(update={"async_tp": True})})
    plain, hidden = (llama_8b(each, precision, recipe) for each in (stack, pieces))
    assert hidden.time["tensor_parallel_s"] < plain.time["tensor_parallel_s"]
    assert hidden.step_time_s < plain.step_time_s


def test_rowwise_scales_gather_twice_the_bytes_of_tensorwise_ones() -> None:
    stack = load_stack("torchtitan")
    tensorwise, rowwise = (llama_8b(stack, Precision.FP8, recipe) for recipe in (Recipe.TENSORWISE, Recipe.ROWWISE))
    bf16 = llama_8b(stack, Precision.BF16, None)
    assert tensorwise.time["tensor_parallel_s"] < rowwise.time["tensor_parallel_s"]
    assert np.allclose(rowwise.time["tensor_parallel_s"], bf16.time["tensor_parallel_s"])


def test_a_recipe_without_overlap_shows_all_tensor_parallel_communication() -> None:
    stack = load_stack("megatron-core")
    serial = stack.model_copy(update={"kernels": stack.kernels.model_copy(update={"serial_tp": True})})
    hidden, seen = (llama_8b(each, Precision.BF16, None).time["tensor_parallel_s"] for each in (stack, serial))
    assert np.allclose(seen, hidden / stack["tensor_parallel_exposed"])
