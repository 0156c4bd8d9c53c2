import json
from pathlib import Path

import pytest

from glmplan.train.evaluation import Evaluation
from glmplan.train.step_log import StepLog, StepRecord, keep_lines_until


def record(step: int) -> StepRecord:
    return StepRecord(
        step=step,
        loss=2.5,
        step_time_s=0.5,
        tokens_per_s=100.0,
        grad_norm=1.0,
        learning_rate=1e-3,
        peak_memory_bytes=None,
    )


def steps_in(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_a_line_holds_what_was_logged(tmp_path: Path) -> None:
    log = StepLog(tmp_path, resumed_from=0)
    log.step(record(1))
    log.validation(1, Evaluation(loss=1.0, accuracy=0.25, tokens=8))
    log.close()
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line == {
        "step": 1,
        "loss": 2.5,
        "step_time_s": 0.5,
        "tokens_per_s": 100.0,
        "grad_norm": 1.0,
        "learning_rate": 1e-3,
        "peak_memory_bytes": None,
    }
    validation = json.loads((tmp_path / "validation.jsonl").read_text())
    assert validation["perplexity"] == pytest.approx(2.718281828)
    assert any((tmp_path / "tensorboard").iterdir())


def test_resuming_drops_later_steps_and_a_line_cut_short(tmp_path: Path) -> None:
    log = StepLog(tmp_path, resumed_from=0)
    for step in (1, 2, 3):
        log.step(record(step))
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 4, "lo')
    log = StepLog(tmp_path, resumed_from=2)
    log.step(record(3))
    log.close()
    assert steps_in(tmp_path / "metrics.jsonl") == [1, 2, 3]


def test_a_missing_file_stays_missing(tmp_path: Path) -> None:
    keep_lines_until(tmp_path / "metrics.jsonl", 5)
    assert list(tmp_path.iterdir()) == []
