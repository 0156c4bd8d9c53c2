"""What a record says of its 8-bit recipe and of asynchronous tensor parallelism."""

import pytest

from glmplan.precision import Recipe
from glmplan.software.catalog import load_stack
from glmplan.validation.case import CaseInputs, Skipped, to_inputs
from glmplan.validation.stated_kernels import as_run, stated_key
from tests.validation.records import measurement

H100 = {"hardware__gpu": "h100-sxm-80gb", "hardware__intra_node": "nvlink4"}


@pytest.mark.parametrize(
    ("stated", "recipe"), [("current", Recipe.TENSORWISE), ("rowwise", Recipe.ROWWISE), (None, None)]
)
def test_the_recipe_reaches_the_job(stated: str | None, recipe: Recipe | None) -> None:
    found = to_inputs(measurement(fp8_recipe=stated, layout__precision="fp8", **H100))
    assert isinstance(found, CaseInputs)
    assert found.job.fp8_recipe is recipe


def test_an_unknown_recipe_is_named_with_those_that_are_known() -> None:
    found = to_inputs(measurement(fp8_recipe="stochastic", layout__precision="fp8", **H100))
    assert isinstance(found, Skipped)
    assert found.reason.startswith("fp8_recipe: stochastic is not modelled; delayed, tensorwise, rowwise")


def test_a_recipe_of_another_format_is_a_contradiction() -> None:
    found = to_inputs(measurement(fp8_recipe="rowwise", layout__precision="bf16", **H100))
    assert isinstance(found, Skipped)
    assert "fp8_recipe: rowwise is no recipe of bf16" in found.reason


def test_asynchronous_tensor_parallelism_is_read_and_told_apart() -> None:
    stack = load_stack("torchtitan")
    on, off, silent = (measurement(layout__async_tp=value) for value in (True, False, None))
    assert as_run(stack, on).kernels.async_tp
    assert not as_run(stack, off).kernels.async_tp
    assert as_run(stack, silent) == stack
    assert stated_key(on) != stated_key(off)
