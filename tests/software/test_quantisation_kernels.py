"""The bytes of quantising, by library and recipe, against what their authors count."""

from itertools import product
from typing import get_args

import pytest

from glmplan.errors import NoData
from glmplan.precision import Recipe
from glmplan.software.quantisation_kernels import ElementBytes, Library, _libraries, quantisation_kernels


def whole(bytes_: ElementBytes, *, row_major_only: bool = True) -> float:
    return bytes_.forward + bytes_.backward + (bytes_.transposed if row_major_only else 0.0)


# torchao, testing/training/roofline_utils.py, get_tensor_memory_traffic_ovhd_s at 0598012, in bytes an element:
# tensorwise 2 + (2 + 2); rowwise (2 + 1 + 2) + (2 + 1), its weight (2 + 1) + (2 + 2) + (2 + 1); mxfp8 2 x (2 + 1)
ROOFLINE = {
    (Recipe.TENSORWISE, "input"): 6.0,
    (Recipe.TENSORWISE, "gradient"): 6.0,
    (Recipe.ROWWISE, "input"): 8.0,
    (Recipe.ROWWISE, "weight"): 10.0,
    (Recipe.ROWWISE, "gradient"): 8.0,
    (Recipe.MXFP8, "input"): 6.0,
    (Recipe.MXFP8, "weight"): 6.0,
    (Recipe.MXFP8, "gradient"): 6.0,
}


@pytest.mark.parametrize(("case", "bytes_"), ROOFLINE.items(), ids=str)
def test_torchao_moves_what_its_own_roofline_counts(case: tuple[Recipe, str], bytes_: float) -> None:
    recipe, role = case
    scales = 2 / 32  # which torchao leaves out
    assert whole(getattr(quantisation_kernels("torchao", recipe), role)) == pytest.approx(bytes_, abs=scales)


def test_a_current_scale_costs_one_more_read_than_a_delayed_one() -> None:
    delayed = quantisation_kernels("transformer-engine", Recipe.DELAYED)
    current = quantisation_kernels("transformer-engine", Recipe.TENSORWISE)
    assert whole(current.input) - whole(delayed.input) == 2.0
    assert whole(current.gradient) - whole(delayed.gradient) == 2.0


def test_blocks_need_no_transpose() -> None:
    for recipe in (Recipe.BLOCKWISE, Recipe.MXFP8, Recipe.NVFP4):
        kernels = quantisation_kernels("transformer-engine", recipe)
        assert kernels.input.transposed == kernels.gradient.transposed == 0.0


def test_every_figure_has_a_source_and_every_source_a_figure() -> None:
    data = _libraries()
    cited = {name for kernels in data.libraries.values() for entry in kernels.values() for name in entry.sources}
    assert cited == data.sources.keys()


def test_a_norm_never_makes_quantising_dearer() -> None:
    for library, recipe in product(get_args(Library), Recipe):
        try:
            kernels = quantisation_kernels(library, recipe)
        except NoData:
            continue
        assert whole(kernels.normed_input) <= whole(kernels.input)


def test_a_recipe_that_a_library_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(NoData, match="fp8_recipe: torchao has no kernels for nvfp4; known are tensorwise, rowwise"):
        quantisation_kernels("torchao", Recipe.NVFP4)
