"""Surfaces from a device's own table or a borrowed one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glmplan.cost.device_surfaces import Rates, matmul_residuals, model_of, rates, reached_peak
from glmplan.hardware.catalog import load_device, profiles_folder
from glmplan.hardware.measured import MatmulTable, MeasuredTables
from glmplan.precision import Precision
from glmplan.software.stack import Kernels

FLASH = Kernels(attention="flash")
FOLDER = profiles_folder() / "measurements"
LENDER = Rates(peak_flops_per_s=1e15, bandwidth_bytes_per_s=3e12, sustained_fraction=0.6)
TABLE = MatmulTable(
    device="lender",
    grade="borrowed",
    dtype="bf16",
    m=np.array([8192, 64]),
    n=np.array([8192, 4096]),
    k=np.array([8192, 4096]),
    seconds=np.array([2e-3, 2e-5]),
)


def test_a_table_of_its_own_is_not_scaled() -> None:
    residuals = matmul_residuals(TABLE, LENDER, LENDER, 2.0)
    assert residuals == pytest.approx(matmul_residuals(TABLE, LENDER, replace(LENDER, sustained_fraction=None), 2.0))
    assert (residuals > 1.0).all()


def test_a_device_that_sustains_more_of_its_peak_is_faster_where_compute_binds() -> None:
    better = replace(LENDER, sustained_fraction=0.75)
    large, small = matmul_residuals(TABLE, LENDER, better, 2.0) / matmul_residuals(TABLE, LENDER, LENDER, 2.0)
    assert large == pytest.approx(0.6 / 0.75, rel=0.01)
    assert small == pytest.approx(1.0, abs=0.02)


def test_an_unknown_share_leaves_the_datasheet_alone() -> None:
    unknown = replace(LENDER, sustained_fraction=None)
    assert reached_peak(LENDER, unknown) == reached_peak(unknown, LENDER) == 1e15
    assert reached_peak(LENDER, replace(LENDER, sustained_fraction=0.3)) == pytest.approx(0.5e15)


def test_profiles_give_the_share_they_are_known_to_sustain() -> None:
    """Facts of the device profiles: medians of large products."""
    figure = "measured_big_gemm_median_frac_of_peak"
    assert rates(load_device("b300-sxm"), Precision.BF16, figure).sustained_fraction == pytest.approx(0.74)
    assert rates(load_device("v100-sxm-32gb"), Precision.FP16, figure).sustained_fraction is None


def test_a_borrower_sustains_what_its_profile_says() -> None:
    """B300 reaches 0.74 of the peak that B200 reaches 0.66 of; the two have one datasheet peak."""
    b200, b300 = load_device("b200-sxm"), load_device("b300-sxm")
    own = model_of(b200, MeasuredTables(device="b200-sxm", folder=FOLDER), Precision.BF16, FLASH)
    tables = MeasuredTables(device="b300-sxm", folder=FOLDER, lenders=("b200-sxm",))
    borrowed = model_of(b300, tables, Precision.BF16, FLASH)
    assert (own.grade, borrowed.grade) == ("measured", "borrowed")
    ratio = float(borrowed.matmul_s(8192, 8192, 8192)) / float(own.matmul_s(8192, 8192, 8192))
    assert ratio == pytest.approx(0.66 / 0.74, rel=0.02)


def test_without_any_table_a_flat_share_is_assumed(tmp_path: Path) -> None:
    nothing = MeasuredTables(device="nobody", folder=tmp_path)
    model = model_of(load_device("a100-sxm-80gb"), nothing, Precision.BF16, FLASH)
    assert model.grade == "assumed"
    assert model.attention_residual is None
    share = 2 * 8192**3 / 312e12 / float(model.matmul_s(8192, 8192, 8192))
    assert 0.5 < share < 0.8


def test_calls_with_wide_heads_do_not_shape_the_surface_of_usual_ones() -> None:
    """The B200 file holds heads of 128 and of 256; the surface has one value for each (sequence, batch x heads)."""
    model = model_of(load_device("b200-sxm"), MeasuredTables(device="b200-sxm", folder=FOLDER), Precision.BF16, FLASH)
    table = MeasuredTables(device="b200-sxm", folder=FOLDER).attention_table()
    assert table is not None and model.attention_residual is not None
    usual = table.head_dim == 128
    cells = set(zip(table.seq[usual].tolist(), (table.batch * table.heads)[usual].tolist(), strict=True))
    assert len(model.attention_residual.points) == len(cells)
