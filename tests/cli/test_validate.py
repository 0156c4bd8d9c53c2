"""`glmplan validate` on the command line."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from glmplan.cli.main import cli
from glmplan.cost.estimate import Grade
from glmplan.cost.interval import Intervals, Work, load_intervals
from glmplan.documents import check, read_yaml
from glmplan.errors import DocumentError, GlmplanError, InputError, NoData
from tests.validation.records import record, write_lines
from tests.validation.sample_run import sample_plan, write_run


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["validate", *arguments], catch_exceptions=True)


def run(*arguments: str) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.exception or result.output
    return result.stdout


def refusal(*arguments: str) -> GlmplanError:
    result = invoke(*arguments)
    assert isinstance(result.exception, GlmplanError), result.output
    return result.exception


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Three cases that can be predicted and two that cannot."""
    return write_lines(
        tmp_path / "cases.jsonl",
        record(),
        record(id="memory", measured={"step_time_s": 1.0, "peak_memory_gib": 30.0}),
        record(id="speed", configuration="b", measured={"tokens_per_s_per_gpu": 16384.0}),
        record(id="odd", layout__dp=2),
        record(),
    )


def test_json_has_the_fields_of_the_contract(cases: Path) -> None:
    document = json.loads(run("--cases", str(cases), "--format", "json"))
    assert document["schema_version"] == 1
    assert [(case["id"], case["quantity"]) for case in document["cases"]] == [
        ("sample", "step_time_s"),
        ("memory", "step_time_s"),
        ("memory", "peak_memory_gib"),
        ("speed", "tokens_per_s_per_gpu"),
    ]
    first = document["cases"][0]
    contract = {"id", "quantity", "measured", "predicted", "low90", "high90", "grade", "relative_error"}
    assert contract <= first.keys()
    assert first["relative_error"] == pytest.approx(first["predicted"] / first["measured"] - 1)
    assert first["low90"] < first["predicted"] < first["high90"]
    reasons = {item["id"]: item["reason"] for item in document["skipped"]}
    assert "contradictory: world size" in reasons["odd"]
    assert "the same measurement as at" in reasons["sample"]
    assert document["summary"]["time"]["all"]["cases"] == 3
    assert document["summary"]["memory"]["all"]["cases"] == 1


def test_csv_is_one_row_a_comparison(cases: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run("--cases", str(cases), "--format", "csv"))))
    assert [row["id"] for row in rows] == ["sample", "memory", "memory", "speed"]
    assert float(rows[2]["low90"]) < float(rows[2]["predicted"]) < float(rows[2]["high90"])


@pytest.mark.parametrize("output_format", ["text", "md"])
def test_text_tells_errors_and_skipped_cases(cases: Path, output_format: str) -> None:
    output = run("--cases", str(cases), "--format", output_format)
    for word in ("MAPE", "peak memory", "tokens_per_s_per_gpu", "contradictory: world size", "the same measurement"):
        assert word in output


def test_a_rerun_with_the_same_id_counts_as_a_case_but_not_as_a_configuration(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "c.jsonl", record(), record(measured={"step_time_s": 1.2}))
    found = json.loads(run("--cases", str(path), "--format", "json"))["summary"]["time"]["all"]
    assert (found["cases"], found["configurations"]) == (2, 1)


def test_several_files_may_follow_one_option(cases: Path, tmp_path: Path) -> None:
    other = write_lines(tmp_path / "other.jsonl", record(id="other"))
    document = json.loads(run("--cases", str(cases), str(other), "--format", "json"))
    assert "other" in {case["id"] for case in document["cases"]}


def test_a_calibration_changes_the_cases_of_its_stack_and_device_only(cases: Path, tmp_path: Path) -> None:
    def predicted(**changes: Any) -> tuple[float, str]:
        calibration = {
            "name": "c", "device": "a100-sxm-80gb", "stack": "megatron-core", "made_by": "a test", "cases": 1,
            "constants": {"matmul_time_factor": 2.0},
        } | changes  # fmt: skip
        path = tmp_path / "calibration.yaml"
        path.write_text(json.dumps(calibration))
        document = json.loads(run("--cases", str(cases), "--calibration", str(path), "--format", "json"))
        return document["cases"][0]["predicted"], document["cases"][0]["grade"]

    plain = json.loads(run("--cases", str(cases), "--format", "json"))["cases"][0]["predicted"]
    assert predicted()[0] > 1.2 * plain
    assert predicted()[1] == "calibrated"
    assert predicted(device="h100-sxm-80gb")[0] == pytest.approx(plain)


def many_runs(folder: Path) -> Path:
    records = [
        record(id=f"r{i}", configuration=f"r{i}", measured={"step_time_s": 1.0 + 0.02 * i}, kind="pretrain")
        for i in range(24)
    ]
    return write_lines(folder / "c.jsonl", *records)


def test_held_out_residuals_give_intervals_and_the_record(tmp_path: Path) -> None:
    path, output = many_runs(tmp_path), tmp_path / "intervals.yaml"
    run("--cases", str(path), "--held-out", "--intervals", str(output), "--record", str(tmp_path))
    written = check(Intervals, read_yaml(output))
    assert written.made_by == "glmplan validate --cases c.jsonl --held-out"
    assert [written.step_time[grade][Work.DENSE].measurements for grade in Grade] == [24, 24, 24]
    assert (
        written.step_time[Grade.CALIBRATED][Work.EXPERTS] == load_intervals().step_time[Grade.CALIBRATED][Work.EXPERTS]
    )
    assert written.memory == load_intervals().memory
    document = json.loads((tmp_path / "accuracy.json").read_text())
    everything = next(row for row in document["time"] if row["set"] == "all")
    assert (everything["cases"], everything["rests_on"]) == (24, {"preset": 24})
    assert everything["fitted"]["mape"] < everything["prior"]["mape"] or everything["prior"]["mape"] < 0.2
    assert "| all | 24 |" in (tmp_path / "accuracy.md").read_text()


def test_a_record_needs_held_out_predictions(tmp_path: Path) -> None:
    path = many_runs(tmp_path)
    assert "--held-out" in str(refusal("--cases", str(path), "--intervals", "i.yaml"))
    assert "--calibration" in str(refusal("--cases", str(path), "--held-out", "--calibration", "c.yaml"))


def test_charts_are_written_as_one_page_and_never_over_a_foreign_file(cases: Path, tmp_path: Path) -> None:
    page = tmp_path / "accuracy.html"
    output = run("--cases", str(cases), "--html", str(page))
    assert "MAPE" in output
    assert "Tokens per second and device, predicted over measured" in page.read_text(encoding="utf-8")
    run("--cases", str(cases), "--html", str(page))
    page.write_text("mine")
    assert "was not made by glmplan" in str(refusal("--cases", str(cases), "--html", str(page)))
    assert page.read_text() == "mine"
    assert "--held-out" in str(refusal("--cases", str(cases), "--held-out", "--html", str(page)))
    assert "--plan" in str(refusal("--plan", "p", "--run", "r", "--html", str(page)))


def test_a_named_stack_stands_for_unknown_software(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "c.jsonl", record(software="abacus"))
    assert (
        "no stack is known"
        in json.loads(invoke("--cases", str(path), "--format", "json").stdout)["skipped"][0]["reason"]
    )
    assert json.loads(run("--cases", str(path), "--stack", "torchtitan", "--format", "json"))["cases"]


def test_a_plan_is_held_against_its_run(tmp_path: Path) -> None:
    plan, path = sample_plan(tmp_path)
    run_folder = write_run(tmp_path / "run", plan, plan.chosen)
    document = json.loads(run("--plan", str(path), "--run", str(run_folder), "--format", "json"))
    assert [case["quantity"] for case in document["cases"]] == [
        "step_time_s",
        "tokens_per_s_per_gpu",
        "peak_memory_gib",
    ]
    assert "MAPE" in run("--plan", str(path), "--run", str(run_folder))
    assert run("--cases", str(run_folder))


@pytest.mark.parametrize(
    "arguments", [(), ("--plan", "plan.json"), ("--run", "x"), ("--cases", "a", "--plan", "b", "--run", "c")]
)
def test_anything_but_one_of_the_two_forms_is_refused(arguments: tuple[str, ...]) -> None:
    error = refusal(*arguments)
    assert isinstance(error, InputError)
    assert "give --cases FILE" in str(error)
    assert "--plan PLAN --run DIR" in str(error)


def test_a_broken_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(record()) + '\n{"id": "cut')
    error = refusal("--cases", str(path))
    assert isinstance(error, DocumentError)
    assert (error.exit_code, str(error).startswith(f"{path}:2: ")) == (2, True)


def test_nothing_predictable_is_no_data_and_the_reasons_are_printed(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "c.jsonl", record(missing=["tp"]))
    result = invoke("--cases", str(path))
    assert isinstance(result.exception, NoData)
    assert "the source does not state: tp" in result.stdout


def test_an_unknown_stack_is_refused(cases: Path) -> None:
    assert "no preset 'megatron-cor'" in str(refusal("--cases", str(cases), "--stack", "megatron-cor"))
