"""The accuracy of single kernels, and the ceilings it must stay under."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from glmplan.cli.kernels import command
from glmplan.precision import Precision
from glmplan.validation.kernel_accuracy import (
    NEAREST,
    attention_held_out,
    attention_transfer,
    collection_noise,
    collectives_held_out,
    errors,
    matmul_held_out,
    matmul_transfer,
    tables_of,
)
from glmplan.validation.kernel_source import compare_attention, compare_grouped, machine_derate


def test_errors_of_a_perfect_and_of_a_fast_prediction() -> None:
    measured = np.array([1.0, 2.0, 4.0])
    assert errors(measured, measured).p90 == 0.0
    fast = errors(measured / 2, measured)
    assert fast.median == pytest.approx(0.5)
    assert fast.bias == pytest.approx(np.log(0.5))


def test_held_out_products_are_predicted_within_four_per_cent() -> None:
    found = {}
    for device in NEAREST:
        table = tables_of(device).matmul_table("bf16")
        assert table is not None
        found[device] = matmul_held_out(table)
        assert abs(found[device].bias) < 0.015
        assert found[device].points > 2000
    assert np.mean([item.median for item in found.values()]) < 0.04
    assert max(item.median for item in found.values()) < 0.055


def test_the_error_of_held_out_products_is_within_the_noise_of_two_collections() -> None:
    noise = collection_noise()
    for device in ("h200-sxm-141gb", "b200-sxm", "gb200"):
        table = tables_of(device).matmul_table("bf16")
        assert table is not None
        assert matmul_held_out(table).median < noise[device, Precision.BF16].median


def test_a_withheld_table_is_replaced_within_ten_per_cent_at_the_median() -> None:
    transfers = [matmul_transfer(device, lender, Precision.BF16) for device, lender in NEAREST.items()]
    medians = [found.datasheet.median for found in transfers if found is not None]
    assert len(medians) == len(NEAREST)
    assert np.median(medians) < 0.10
    large = [found.sustained_large.median for found in transfers if found is not None]
    assert np.median(large) < 0.06


def test_a_device_without_the_format_has_no_transfer() -> None:
    assert matmul_transfer("a100-sxm-80gb", "h100-sxm-80gb", Precision.FP8) is None
    assert attention_held_out("rtx-pro-6000") is None


def test_attention_is_predicted_within_five_per_cent_and_transferred_within_ten() -> None:
    for device in ("a100-sxm-80gb", "h100-sxm-80gb", "b200-sxm"):
        held_out = attention_held_out(device)
        assert held_out is not None and held_out.median < 0.05
    moved = attention_transfer("h200-sxm-141gb", "h100-sxm-80gb")
    assert moved is not None and moved[0].median < 0.10


def test_collectives_between_measured_sizes_are_within_five_per_cent() -> None:
    table = tables_of("h100-sxm-80gb").collective_table()
    assert table is not None
    assert collectives_held_out(table).median < 0.05


def test_the_derate_of_the_second_sources_machines() -> None:
    """The first study of these files found 1.08 and 1.35 (shares of 312 and 2250 TFLOP/s)."""
    assert machine_derate("a100_pcie").median == pytest.approx(1.08, abs=0.02)
    assert machine_derate("b200").median == pytest.approx(1.35, abs=0.04)


def test_attention_backward_takes_two_to_three_and_a_half_forwards() -> None:
    for machine in ("a100_pcie", "b200"):
        ratios = [item.median for item in compare_attention(machine) if "backward" in item.kernel]
        assert len(ratios) == 2
        assert all(2.0 < ratio < 3.5 for ratio in ratios)


def test_weight_gradients_of_groups_are_the_slowest() -> None:
    ahead, back, weights = compare_grouped("b200")
    assert weights.median > 1.2 * max(ahead.median, back.median)


def test_the_command_prints_every_table() -> None:
    printed = CliRunner().invoke(command, ["--format", "json"])
    assert printed.exit_code == 0
    tables = json.loads(printed.output)
    assert tables["schema_version"] == 1
    assert {row["device"] for row in tables["matmul_held_out"]} == set(NEAREST)
    assert all(
        tables[name] for name in ("matmul_withheld", "attention", "collectives", "machine_derate", "second_source")
    )


def test_the_committed_report_is_what_the_command_prints() -> None:
    committed = (Path(__file__).parents[2] / "reports" / "kernels.md").read_text(encoding="utf-8")
    printed = CliRunner().invoke(command, ["--format", "md"]).output
    assert [line for line in printed.splitlines() if not line.startswith("|")] == [
        line for line in committed.splitlines() if not line.startswith("|")
    ]
    numbers = [[float(x) for x in re.findall(r"[-+]?\d+\.\d+", text)] for text in (printed, committed)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.3)
