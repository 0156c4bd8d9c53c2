"""Numeric formats."""

import pytest

from glmplan.precision import BYTES_PER_ELEMENT, PEAK_KEY, Precision, activation_precision


def test_every_format_has_a_width_and_a_peak() -> None:
    assert set(BYTES_PER_ELEMENT) == set(Precision) == set(PEAK_KEY)


@pytest.mark.parametrize(
    ("precision", "bits"), [("mxfp8", 8 + 8 / 32), ("nvfp4", 4 + 8 / 16), ("bf16", 16), ("fp32", 32)]
)
def test_block_formats_count_their_scales(precision: str, bits: float) -> None:
    """OCP MX specification 1.0, section 5.2 (32 elements a scale); NVFP4 has 16."""
    assert BYTES_PER_ELEMENT[Precision(precision)] * 8 == bits


@pytest.mark.parametrize("precision", list(Precision))
def test_activations_are_never_stored_below_two_bytes(precision: Precision) -> None:
    stored = activation_precision(precision)
    assert BYTES_PER_ELEMENT[stored] >= 2.0
    assert activation_precision(stored) is stored
