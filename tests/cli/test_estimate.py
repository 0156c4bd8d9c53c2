"""glmplan estimate."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from glmplan.cost.estimate import MemoryBreakdown, TimeBreakdown
from glmplan.plan.document import read_plan
from tests.conftest import Outcome

Run = Callable[..., Outcome]
JOB = ("--model", "gpt3-175b", "--cluster", "selene", "--gpus", 64, "--global-batch", 64, "--seq-len", 2048)
LAYOUT = ("--stack", "megatron-lm-2022", "--precision", "fp16", "--tp", 8, "--pp", 8, "--virtual-stages", 3)


def test_one_layout_is_costed_in_full(run_glmplan: Run, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    outcome = run_glmplan("estimate", *JOB, *LAYOUT, "--recompute", "full", "--format", "json", "-o", path)
    assert outcome.code == 0
    data = json.loads(outcome.out)
    assert data["schema_version"] == 1
    assert data["layout"]["dp"] == 1
    assert data["layout"]["schedule"] == "interleaved"
    assert set(data["estimate"]["time"]) == set(TimeBreakdown.model_fields)
    assert all("never measured" in text or text.endswith(".") for text in data["assumptions"])
    assert set(data["estimate"]["memory"]) == set(MemoryBreakdown.model_fields)
    assert read_plan(path).chosen.model_dump(mode="json")["layout"] == data["layout"]


def test_text_names_figures_times_and_sizes(run_glmplan: Run) -> None:
    outcome = run_glmplan("estimate", *JOB, *LAYOUT, "--recompute", "full", "--tokens", "300B")
    for words in (
        "step time",
        "90 % interval",
        "MFU",
        "HFU",
        "peak memory",
        "90 % interval of memory",
        "verdict on memory",
        "90 % interval of $",
        "90 % interval of days",
        "days",
        "the backward pass",
        "activations",
    ):
        assert words in outcome.out
    rows = list(csv.reader(io.StringIO(run_glmplan("estimate", *JOB, *LAYOUT, "--format", "csv").out)))
    assert rows[0] == ["section", "part", "value", "share"]
    assert {row[0] for row in rows[1:]} == {"summary", "time", "memory", "assumption"}


def test_a_layout_that_does_not_fit_is_costed_with_a_note(run_glmplan: Run) -> None:
    outcome = run_glmplan("estimate", *JOB, "--stack", "megatron-core", "--tp", 8, "--micro-batch", 1)
    assert outcome.code == 0
    assert outcome.err.startswith("note: It does not fit: ")
    assert "most of it optimizer state (" in outcome.err
    nearest = re.search(r"the nearest that fits sets (.+): (tp8 \S.*) needs ([\d.]+) GiB", outcome.err)
    assert nearest is not None
    assert float(nearest[3]) < 80
    for change in nearest[1].split(" and "):
        assert change.split(" to ")[1] in nearest[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tp", "6"), "layout: tp 6 x cp 1 x pp 1 = 6 does not divide the 64 devices; change one degree or --gpus"),
        (("--tp", "1,2"), "--tp: estimate takes one value; got 2; use plan"),
        (("--shard", "hsdp"), "layout.shard_group: 64 does not fit hsdp with dp x cp = 64"),
        (("--pp", "8", "--virtual-stages", "5"), "layout.virtual_stages: 5 needs pp above 1"),
        (("--ep", "2"), "layout.ep: 2 must divide the experts (this model has none)"),
    ],
)
def test_a_layout_that_cannot_be_says_why(run_glmplan: Run, arguments: tuple[str, ...], message: str) -> None:
    outcome = run_glmplan("estimate", *JOB, *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert all(line.startswith("glmplan: ") for line in outcome.err.splitlines())
