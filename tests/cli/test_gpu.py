"""``glmplan gpu``: without a GPU it says so; at toy size the whole session runs on a CPU."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from glmplan.cli.gpu import command
from glmplan.probe.gpu_record import SessionRecord
from glmplan.probe.gpu_scale import TOY


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU is told")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["--out", str(tmp_path / "reports")], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no GPU at hand" in result.stderr
    assert not (tmp_path / "reports").exists()


@pytest.mark.slow
def test_a_toy_session_predicts_and_measures(tmp_path: Path) -> None:
    arguments = ["--toy", "--minutes", "5", "--out", str(tmp_path)]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    report = Path(result.stdout.strip())
    record = SessionRecord.model_validate(json.loads(report.with_suffix(".json").read_text()))
    assert [setting.outcome for setting in record.settings] == ["measured"] * TOY.most_settings
    for setting in record.settings:
        assert setting.predicted_step_time_s > 0
        assert setting.measured_step_time_s is not None and setting.measured_step_time_s > 0
    assert report.with_suffix(".yaml").exists()
    assert "predicted memory" in report.read_text()
