"""Which matmuls are quantised, what that moves and what it saves."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from glmplan.precision import BYTES_PER_ELEMENT, Precision, Recipe
from glmplan.software.catalog import load_stack
from glmplan.software.quantisation_kernels import quantisation_kernels
from glmplan.workload.graph import workload_blocks
from glmplan.workload.operation import Matmul, Quantisation, Split
from glmplan.workload.quantisation import gathered_parameter_bytes, quantisation_bytes
from tests.small_jobs import job_of, model

LOW_BIT = (Precision.FP8, Precision.FP8_BLOCKWISE, Precision.MXFP8, Precision.NVFP4)


def matmuls(precision: Precision, kind: str = "dense", stack: str = "nemo") -> dict[str, Matmul]:
    blocks = workload_blocks(job_of(model(kind), precision=precision), load_stack(stack).kernels)
    return {op.name: op for block in blocks for op in block.operations() if isinstance(op, Matmul)}


def linear(recipe: Recipe, library: str = "torchao", **changes: object) -> Matmul:
    quantisation = Quantisation(
        kernels=quantisation_kernels("torchao" if library == "torchao" else "transformer-engine", recipe),
        after_norm=False,
        layers_share=1.0,
        repeated_share=0.0,
        gathered_share=1.0,
        **changes,  # type: ignore[arg-type]
    )
    return Matmul(name="linear", tokens=64.0, columns=32.0, depth=16.0, split=Split.NONE, quantisation=quantisation)


@pytest.mark.parametrize("precision", LOW_BIT)
@pytest.mark.parametrize("kind", ["dense", "experts", "latent"])
def test_linear_layers_are_quantised_but_for_router_and_vocabulary(precision: Precision, kind: str) -> None:
    plain = {name for name, op in matmuls(precision, kind).items() if op.quantisation is None}
    assert plain == {"vocabulary"} | ({"router"} if kind != "dense" else set())


def test_nothing_is_quantised_in_bf16() -> None:
    assert all(op.quantisation is None for op in matmuls(Precision.BF16).values())


def test_a_tensorwise_linear_layer_moves_six_bytes_for_each_input_and_output_element() -> None:
    # torchao's roofline; the weight is quantised before it is gathered, and transposed after
    moved = quantisation_bytes(linear(Recipe.TENSORWISE), transposes=True)
    assert moved.forward + moved.backward == 6 * 64 * 16 + 2 * 16 * 32 + 6 * 64 * 32


def test_devices_that_multiply_any_orientation_transpose_nothing() -> None:
    hopper, blackwell = (quantisation_bytes(linear(Recipe.TENSORWISE), transposes=t) for t in (True, False))
    assert hopper.forward == blackwell.forward
    assert hopper.backward - blackwell.backward == 64 * 16 + 2 * 16 * 32 + 64 * 32


def test_ranks_that_quantise_before_they_gather_share_the_work() -> None:
    alone = quantisation_bytes(linear(Recipe.TENSORWISE), transposes=False)
    shared = quantisation_bytes(linear(Recipe.TENSORWISE, input_share=1 / 8), transposes=False)
    assert shared.forward == alone.forward / 8


@given(st.sampled_from([Recipe.TENSORWISE, Recipe.ROWWISE, Recipe.MXFP8]), st.floats(0.0, 1.0))
def test_layers_left_in_bf16_are_not_quantised(recipe: Recipe, share: float) -> None:
    whole = quantisation_bytes(linear(recipe), transposes=True)
    op = linear(recipe)
    assert op.quantisation is not None
    some = quantisation_bytes(replace(op, quantisation=replace(op.quantisation, layers_share=share)), transposes=True)
    assert some.forward == pytest.approx(share * whole.forward)
    assert some.backward == pytest.approx(share * whole.backward)


def test_transformer_engine_keeps_quantised_inputs_and_torchao_does_not() -> None:
    def kept(precision: Precision, stack: str) -> float:
        return float(matmuls(precision, stack=stack)["mlp_up"].kept[0].elements)

    assert kept(Precision.FP8, "nemo") == kept(Precision.BF16, "nemo") / 2
    assert kept(Precision.FP8, "torchtitan") == kept(Precision.BF16, "torchtitan")


def test_attention_keeps_its_output_beside_the_quantised_one() -> None:
    op = matmuls(Precision.FP8)["attention_output"]
    assert op.kept[0].elements == 1.5 * op.tokens * op.depth


def test_gathered_parameters_lie_between_both_formats() -> None:
    kernels = load_stack("torchtitan").kernels
    tensorwise = gathered_parameter_bytes(job_of(precision=Precision.FP8, fp8_recipe=Recipe.TENSORWISE), kernels)
    rowwise = gathered_parameter_bytes(job_of(precision=Precision.FP8, fp8_recipe=Recipe.ROWWISE), kernels)
    assert BYTES_PER_ELEMENT[Precision.FP8] < tensorwise < rowwise == BYTES_PER_ELEMENT[Precision.BF16]


def test_a_recipe_of_another_format_is_refused_with_those_that_suit() -> None:
    with pytest.raises(ValidationError, match="fp8_recipe: rowwise is no recipe of mxfp8; use mxfp8"):
        job_of(precision=Precision.MXFP8, fp8_recipe=Recipe.ROWWISE)
    with pytest.raises(ValidationError, match="fp8_recipe: rowwise is no recipe of bf16; leave it out"):
        job_of(precision=Precision.BF16, fp8_recipe=Recipe.ROWWISE)


def test_separate_projections_share_the_columns() -> None:
    joined, separate = (matmuls(Precision.BF16, stack=stack) for stack in ("nemo", "torchtitan"))
    assert joined["qkv"].parts == joined["mlp_up"].parts == (1.0,)
    assert separate["qkv"].parts == (0.5, 0.25, 0.25)  # 4 query heads, 2 of keys, 2 of values
    assert separate["mlp_up"].parts == (0.5, 0.5)
