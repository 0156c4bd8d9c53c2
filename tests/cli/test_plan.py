"""glmplan plan, estimate and explain, from arguments to output."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from glmplan.plan.document import read_plan
from tests.conftest import Outcome

Run = Callable[..., Outcome]
JOB = ("--model", "llama3-8b", "--cluster", "dgx-a100-pod", "--gpus", 8, "--global-batch", 8, "--seq-len", 4096)


def test_a_plan_is_printed_written_and_explained(run_glmplan: Run, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "plan.json"
    outcome = run_glmplan("plan", *JOB, "--top", 3, "-o", path)
    assert outcome.code == 0
    plan = read_plan(path)
    assert plan.chosen.layout.label() in outcome.out
    assert all(sentence in outcome.out for sentence in plan.explanation)
    assert f"{plan.search.considered:,} layouts, {sum(plan.search.pruned.values()):,} more ruled out" in outcome.err
    assert f"written to {path}" in outcome.err
    explained = run_glmplan("explain", path)
    lines = explained.out.splitlines()
    assert lines[: len(plan.explanation)] == list(plan.explanation)
    assert lines[len(plan.explanation) + 1 :] == [f"- {sentence}" for sentence in plan.assumptions]
    assert all(f"- {sentence}" in outcome.out for sentence in plan.assumptions)


def test_costing_every_layout_gives_the_same_best_ones(run_glmplan: Run) -> None:
    larger = (
        "--model",
        "llama3-70b",
        "--cluster",
        "dgx-h100-pod",
        "--gpus",
        64,
        "--global-batch",
        256,
        "--seq-len",
        8192,
    )
    found = [
        json.loads(run_glmplan("plan", *larger, "--top", 5, "--evaluate", evaluate, "--format", "json").out)
        for evaluate in ("promising", "all")
    ]
    kept = [[option["layout"] for option in (data["chosen"], *data["alternatives"])] for data in found]
    assert kept[0] == kept[1]
    assert found[0]["search"]["considered"] < found[1]["search"]["considered"]


def test_the_upper_end_of_the_error_bar_can_be_made_to_fit(run_glmplan: Run) -> None:
    def peaks(*arguments: str) -> list[tuple[float, float]]:
        data = json.loads(run_glmplan("plan", *JOB, "--top", 500, "--format", "json", *arguments).out)
        estimates = [option["estimate"] for option in (data["chosen"], *data["alternatives"])]
        limit = 0.95 * estimates[0]["memory_capacity_bytes"]
        return [(e["peak_memory_bytes"] / limit, e["peak_memory_high90_bytes"] / limit) for e in estimates]

    assert max(high for _, high in peaks()) > 1
    assert max(peak for peak, _ in peaks()) <= 1
    assert max(high for _, high in peaks("--memory-bound", "high90")) <= 1


def test_two_runs_write_the_same_bytes(run_glmplan: Run, tmp_path: Path) -> None:
    for name in ("one.json", "two.json"):
        assert run_glmplan("plan", *JOB, "--tp", "1,2", "-o", tmp_path / name).code == 0
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_json_on_stdout_is_the_plan_with_the_seconds_it_took(run_glmplan: Run, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    data = json.loads(run_glmplan("plan", *JOB, "--format", "json", "-o", path).out)
    assert data["schema_version"] == 1
    assert data["search"].pop("seconds") > 0
    assert data == json.loads(path.read_text())


@pytest.mark.parametrize("output_format", ["csv", "md"])
def test_rows_are_the_same_in_every_format(run_glmplan: Run, output_format: str) -> None:
    outcome = run_glmplan("plan", *JOB, "--top", 4, "--format", output_format)
    if output_format == "csv":
        rows = list(csv.DictReader(io.StringIO(outcome.out)))
        assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    else:
        assert sum(line.startswith("| ") for line in outcome.out.splitlines()) == 5
        assert "\n- " in outcome.out


def test_dimensions_limit_the_search(run_glmplan: Run) -> None:
    arguments = ("--tp", "4", "--shard", "zero1", "--recompute", "full", "--sequence-parallel", "on")
    data = json.loads(run_glmplan("plan", *JOB, *arguments, "--format", "json").out)
    for option in (data["chosen"], *data["alternatives"]):
        layout = option["layout"]
        assert (layout["tp"], layout["sharding"], layout["recompute"]) == (4, "zero1", "full")
        assert layout["sequence_parallel"]


def test_nothing_that_fits_is_exit_code_three_and_writes_no_file(run_glmplan: Run, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    arguments = ("plan", "--model", "llama3-70b", "--cluster", "dgx-a100-pod", "--gpus", 8, "--global-batch", 8)
    outcome = run_glmplan(*arguments, "--seq-len", 4096, "-o", path)
    assert outcome.code == 3
    assert "nothing fits" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert outcome.out == ""
    assert not path.exists()


def test_a_precision_without_data_is_exit_code_four(run_glmplan: Run) -> None:
    outcome = run_glmplan("plan", *JOB, "--precision", "nvfp4")
    assert outcome.code == 4
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--gpus", 0), "Invalid value for '--gpus'"),
        (("--gpus", 12), "12 is not a multiple of the 8 devices of a node"),
        (("--model", "lama3-8b"), "llama3-8b"),
        (("--cluster", "dgx-a100"), "dgx-a100-pod"),
        (("--calibration", "none.yaml"), "none.yaml"),
        (("--memory-margin", 2), "Invalid value for '--memory-margin'"),
        (("-o", "/proc/plan.json"), "/proc/plan.json: cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(run_glmplan: Run, arguments: tuple[object, ...], message: str) -> None:
    outcome = run_glmplan("plan", *JOB, *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
