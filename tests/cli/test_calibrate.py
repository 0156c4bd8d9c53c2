"""`glmplan calibrate` on the command line."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from glmplan.cli.main import cli
from glmplan.errors import GlmplanError, InputError, NoData
from glmplan.hardware.catalog import load_calibration
from tests.validation.records import record, write_lines


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["calibrate", *arguments], catch_exceptions=True)


def refusal(*arguments: str) -> GlmplanError:
    result = invoke(*arguments)
    assert isinstance(result.exception, GlmplanError), result.output
    return result.exception


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Four runs of two sources, all about twice as slow as the prior says."""
    return write_lines(
        tmp_path / "cases.jsonl",
        *(
            record(
                id=f"m{m}",
                configuration=f"m{m}",
                layout__micro_batch=m,
                measured={"step_time_s": 1.9},
                source={"title": f"source {m % 3}", "ref": "", "year": 2026, "how": "table"},
            )
            for m in (1, 2, 4, 8)
        ),
        record(id="doubtful", suspect="slow node"),
    )


def test_the_calibration_is_written_printed_and_used_by_validate(cases: Path, tmp_path: Path) -> None:
    output = tmp_path / "calibration.yaml"
    result = invoke("--cases", str(cases), "-o", str(output))
    assert result.exit_code == 0, result.exception
    assert "matmul_time_factor" in result.stdout
    assert "MAPE of the fitted cases" in result.stdout
    assert "not used: doubtful: suspect: slow node" in result.stderr
    calibration = load_calibration(str(output))
    assert (calibration.stack, calibration.device, calibration.cases) == ("megatron-core", "a100-sxm-80gb", 4)
    assert calibration.made_by == "glmplan calibrate --cases cases.jsonl --stack megatron-core"

    def mape(*arguments: str) -> float:
        text = CliRunner().invoke(cli, ["validate", "--cases", str(cases), "--format", "json", *arguments]).stdout
        return float(json.loads(text)["summary"]["time"]["trusted"]["mape"])

    assert mape("--calibration", str(output)) == pytest.approx(calibration.residual_mape, abs=1e-3)
    assert mape("--calibration", str(output)) < 0.5 * mape()


def test_json_tells_before_after_and_held_out(cases: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "c.yaml")
    result = invoke("--cases", str(cases), "-o", output, "--leave-one-source-out", "--format", "json")
    document = json.loads(result.stdout)
    assert document["mape_after"] < document["mape_before"]
    assert document["constants_before"].keys() == document["calibration"]["constants"].keys()
    assert {item["source"] for item in document["held_out"]} == {"source 1", "source 2"}
    assert document["used"] == ["m1", "m2", "m4", "m8"]


def test_the_same_cases_write_the_same_bytes(cases: Path, tmp_path: Path) -> None:
    files = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for file in files:
        assert invoke("--cases", str(cases), "-o", str(file)).exit_code == 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_without_cases_it_says_what_to_give(tmp_path: Path) -> None:
    error = refusal("-o", str(tmp_path / "c.yaml"))
    assert isinstance(error, InputError)
    assert "give --cases FILE" in str(error)


def test_nothing_to_fit_is_no_data_and_writes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "c.yaml"
    path = write_lines(tmp_path / "cases.jsonl", record(trust="C"))
    assert isinstance(refusal("--cases", str(path), "-o", str(output)), NoData)
    assert not output.exists()


def test_one_source_cannot_be_left_out(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "cases.jsonl", record())
    output = tmp_path / "c.yaml"
    assert "needs cases of two sources" in str(
        refusal("--cases", str(path), "-o", str(output), "--leave-one-source-out")
    )
    assert not output.exists()


def test_every_stack_and_device_with_enough_cases_gets_a_file(tmp_path: Path) -> None:
    records = [
        record(
            id=f"{gpu}{b}",
            configuration=f"{gpu}{b}",
            layout__global_batch=b,
            hardware__gpu=gpu,
            measured={"step_time_s": b / 64},
        )
        for gpu, count in (("a100-sxm-80gb", 6), ("h100-sxm-80gb", 3))
        for b in (16, 32, 64, 128, 256, 512)[:count]
    ]
    path = write_lines(tmp_path / "cases.jsonl", *records)
    result = invoke("--cases", str(path), "--all", "-o", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    files = sorted((tmp_path / "out").glob("*.yaml"))
    assert [file.name for file in files] == [f"{load_calibration(str(files[0])).stack}--a100-sxm-80gb.yaml"]
    assert load_calibration(str(files[0])).made_by == "glmplan calibrate --cases cases.jsonl --all"
    assert isinstance(refusal("--cases", str(path), "--all", "--stack", "nemo", "-o", "x"), InputError)
