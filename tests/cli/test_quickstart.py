"""The quickstart: the whole loop at toy size, and the folder it works in."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from glmplan.cli.main import cli
from glmplan.cli.quickstart_loop import options_to_train
from glmplan.cli.quickstart_summary import Row, Summary
from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout, Sharding
from glmplan.plan.document import Option, Plan
from tests.report.sample_plan import sample_plan


def row(when: str, layout: str, predicted_s: float, measured_s: float) -> Row:
    return Row(
        when=when,
        layout=layout,
        predicted_s=predicted_s,
        measured_s=measured_s,
        predicted_gib=1.0,
        measured_gib=0.8,
    )


def summary() -> Summary:
    return Summary(
        runs=(
            row("before calibration", "a", 1.0, 2.0),
            row("before calibration", "b", 1.2, 1.6),
            row("fresh", "b", 1.5, 1.6),
        ),
        chosen="a",
        chosen_again="b",
        report="out/report.html",
        losses=(8.0, 5.0),
    )


def test_regret_is_against_the_fastest_layout_measured() -> None:
    assert summary().regret == pytest.approx(0.25)


def test_errors_are_relative_to_the_measurement() -> None:
    assert summary().fresh.time_error == pytest.approx(-0.0625)
    assert summary().fresh.memory_error == pytest.approx(0.25)


def test_the_summary_says_how_far_off_a_fresh_measurement_is() -> None:
    assert any("-6.2%" in sentence for sentence in summary().sentences())


def with_layouts(plan: Plan, *layouts: ParallelLayout) -> Plan:
    options = [Option(layout=layout, estimate=plan.chosen.estimate) for layout in layouts]
    return plan.model_copy(update={"chosen": options[0], "alternatives": tuple(options[1:])})


def test_other_layouts_to_train_share_the_work_differently() -> None:
    plan = with_layouts(
        sample_plan(),
        ParallelLayout(dp=2),
        ParallelLayout(dp=2, micro_batch=2),
        ParallelLayout(tp=2),
        ParallelLayout(dp=2, micro_batch=4),
        ParallelLayout(dp=2, sharding=Sharding.FSDP, shard_group=2),
    )
    assert options_to_train(plan) == [0, 2, 4]


def test_where_layouts_are_alike_the_next_best_are_trained() -> None:
    plan = with_layouts(sample_plan(), *[ParallelLayout(micro_batch=2**k) for k in range(5)])
    assert options_to_train(plan) == [0, 1, 2]


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine", encoding="utf-8")
    result = CliRunner().invoke(cli, ["quickstart", "--out", str(tmp_path), "--overwrite"])
    assert isinstance(result.exception, InputError)
    assert "not a quickstart's" in str(result.exception)
    assert (tmp_path / "thesis.tex").read_text(encoding="utf-8") == "mine"


@pytest.mark.slow
def test_the_whole_loop_at_toy_size(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    for part in range(40):
        words = " ".join(f"line {part} says {number * part} and {number % 7}" for number in range(400))
        (text / f"{part}.txt").write_text(words, encoding="utf-8")
    out = tmp_path / "out"
    command = ["quickstart", "--out", str(out), "--model", "tiny-llama-1m", "--data", str(text)]
    command += ["--probe-seconds", "3", "--steps", "8", "--format", "json"]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    document = json.loads(result.stdout)
    assert document["finished"] is True
    kinds = [found["when"] for found in document["rows"]]
    assert kinds.count("before calibration") == 3
    assert kinds[-1] == "fresh"
    assert all(found["predicted_s"] > 0 and found["measured_s"] > 0 for found in document["rows"])
    assert max(abs(found["memory_error"]) for found in document["rows"]) < 0.15
    assert document["losses"][1] < document["losses"][0]
    assert "Content-Security-Policy" in (out / "report.html").read_text(encoding="utf-8")
    again = CliRunner().invoke(cli, command, catch_exceptions=False)  # everything is there: nothing is run twice
    assert json.loads(again.stdout) == document
