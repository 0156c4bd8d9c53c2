"""Corrections of memory."""

import numpy as np
import pytest

from glmplan.validation.memory_fit import MemoryFit, fit_memory


def test_many_peaks_give_their_scale_and_what_is_added() -> None:
    predicted = np.linspace(10.0, 70.0, 400)
    found = fit_memory(predicted, 0.95 * predicted + 1.5, np.ones(400), "allocated")
    assert (found.scale, found.added_gib) == (pytest.approx(0.95, abs=0.01), pytest.approx(1.5, abs=0.3))


def test_one_peak_moves_little() -> None:
    found = fit_memory(np.array([40.0]), np.array([50.0]), np.ones(1), "allocated")
    assert 40.0 < found.at(np.array([40.0]))[0] < 50.0


def test_no_correction_leaves_peaks_as_they_are() -> None:
    assert MemoryFit().at(np.array([3.0])) == pytest.approx([3.0])
