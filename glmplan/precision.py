"""Numeric formats and the bytes they take."""

from enum import StrEnum


class Precision(StrEnum):
    """A format in which tensors are stored and multiplied."""

    FP32 = "fp32"
    TF32 = "tf32"
    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    FP8_BLOCKWISE = "fp8-blockwise"
    MXFP8 = "mxfp8"
    NVFP4 = "nvfp4"


class Recipe(StrEnum):
    """How tensors are scaled before an 8- or 4-bit matmul: how many elements share a scale, and where it comes from."""

    DELAYED = "delayed"
    """One scale a tensor, from the maxima of earlier steps (Micikevicius 2022, arXiv:2209.05433, section 4.3)."""
    TENSORWISE = "tensorwise"
    """One scale a tensor, from its own maximum; also called current or dynamic scaling."""
    ROWWISE = "rowwise"
    """One scale a row, and one a column for the other orientation."""
    BLOCKWISE = "blockwise"
    """One scale for 1 x 128 activations or 128 x 128 weights (DeepSeek-V3, arXiv:2412.19437, section 3.3)."""
    MXFP8 = "mxfp8"
    """One power of two for 32 elements, in each orientation (OCP MX specification 1.0)."""
    NVFP4 = "nvfp4"
    """One 8-bit scale for 16 elements and one for the tensor (NVIDIA 2025, arXiv:2509.25149)."""


RECIPES: dict[Precision, tuple[Recipe, ...]] = {
    Precision.FP8: (Recipe.DELAYED, Recipe.TENSORWISE, Recipe.ROWWISE),
    Precision.FP8_BLOCKWISE: (Recipe.BLOCKWISE,),
    Precision.MXFP8: (Recipe.MXFP8,),
    Precision.NVFP4: (Recipe.NVFP4,),
}
"""Recipes that a format is trained with; the other formats need none."""

BYTES_PER_ELEMENT: dict[Precision, float] = {
    Precision.FP32: 4.0,
    Precision.TF32: 4.0,
    Precision.BF16: 2.0,
    Precision.FP16: 2.0,
    Precision.FP8: 1.0,
    Precision.FP8_BLOCKWISE: 1.0,
    Precision.MXFP8: 1.0 + 1.0 / 32.0,  # one 8-bit scale for 32 elements (OCP MX specification 1.0, section 5.2)
    Precision.NVFP4: 0.5 + 1.0 / 16.0,  # one 8-bit scale for 16 elements
}

PEAK_KEY: dict[Precision, str] = {
    Precision.FP32: "fp32",
    Precision.TF32: "tf32",
    Precision.BF16: "bf16",
    Precision.FP16: "fp16",
    Precision.FP8: "fp8",
    Precision.FP8_BLOCKWISE: "fp8",
    Precision.MXFP8: "fp8",
    Precision.NVFP4: "fp4",
}
"""Which of a device's published peaks a format runs at."""


def activation_precision(precision: Precision) -> Precision:
    """The format of activations and of parameters in memory: the 8- and 4-bit recipes keep them in bf16.

    Source: Transformer Engine's and torchao's training recipes quantise the operands of matmuls only.
    """
    return Precision.BF16 if precision in RECIPES else precision


def recipe_of(precision: Precision, chosen: Recipe | None, default: Recipe) -> Recipe | None:
    """The recipe of ``precision``: ``chosen``, else ``default``, where it has several; None where it needs none.

    >>> recipe_of(Precision.MXFP8, None, Recipe.DELAYED).value
    'mxfp8'
    """
    possible = RECIPES.get(precision, ())
    if not possible:
        return None
    wanted = default if chosen is None else chosen
    return wanted if wanted in possible else possible[0]
