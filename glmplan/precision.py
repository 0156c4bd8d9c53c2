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
    low_bit = {Precision.FP8, Precision.FP8_BLOCKWISE, Precision.MXFP8, Precision.NVFP4}
    return Precision.BF16 if precision in low_bit else precision
