"""How well a prediction is supported."""

import pytest

from glmplan.cost.estimate import Grade
from glmplan.cost.grade import generation_of, grade_of, lender_of
from glmplan.hardware.catalog import load_cluster
from glmplan.software.catalog import load_stack


@pytest.mark.parametrize(
    ("architecture", "generation"),
    [
        ("Ampere GA100", "Ampere"),
        ("Grace + Hopper GH100", "Hopper"),
        ("Grace + 2x Blackwell Ultra", "Blackwell"),
        ("CDNA2 (2 GCDs; software sees 2 devices of half size)", "CDNA2"),
        ("", ""),
    ],
)
def test_the_generation_is_the_first_word_behind_the_host_and_the_dies(architecture: str, generation: str) -> None:
    assert generation_of(architecture) == generation


@pytest.mark.parametrize(
    ("cluster", "lender", "grade"),
    [
        ("dgx-h100-pod", "h100-sxm-80gb", Grade.TRANSFERRED),
        ("dgx-b300-pod", "b200-sxm", Grade.TRANSFERRED),  # of the same generation
        ("mi300x-cluster", "h100-sxm-80gb", Grade.DATASHEET),  # lent by another maker's chip
    ],
)
def test_a_table_of_the_generation_is_worth_more_than_one_of_another(cluster: str, lender: str, grade: Grade) -> None:
    loaded, stack = load_cluster(cluster), load_stack("megatron-core")
    assert lender_of(loaded.measured) == lender
    assert grade_of(loaded, stack) is grade


def test_a_calibration_on_the_device_counts_most_and_on_another_device_not_at_all() -> None:
    cluster, stack = load_cluster("dgx-h100-pod"), load_stack("megatron-core")
    assert grade_of(cluster, stack.with_constants({}, "h100-sxm-80gb")) is Grade.CALIBRATED
    assert grade_of(cluster, stack.with_constants({}, "a100-sxm-80gb")) is Grade.TRANSFERRED
    assert grade_of(load_cluster("laptop-cpu"), stack) is Grade.DATASHEET
