"""Matmuls run expert by expert against plain ones."""

import numpy as np
import pytest

from glmplan.software.kernel_factors import kernel_factors
from glmplan.software.stack import Kernels

EAGER = Kernels(attention="flash")


def test_many_tokens_an_expert_leave_little_over_a_plain_matmul() -> None:
    grouped = kernel_factors(EAGER, "Blackwell", 128.0).grouped
    assert grouped is not None
    forward, backward = grouped.factors(np.array([128.0, 1100.0, 1e6]))
    assert forward.tolist() == [1.0, 1.0, 1.0]
    assert backward.tolist() == pytest.approx([1.35, 1.29, 1.10])


def test_a_whole_step_graph_has_kernels_of_its_own() -> None:
    assert kernel_factors(Kernels(attention="flash", cuda_graph="full"), "Blackwell", 128.0).grouped is None


def test_an_architecture_that_was_not_measured_has_no_factor() -> None:
    assert kernel_factors(EAGER, "CDNA 3", 128.0).grouped is None
