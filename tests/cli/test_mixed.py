"""glmplan mixed, and glmplan plan --stages, from the command line."""

import json
from collections.abc import Callable

import pytest

from tests.conftest import Outcome

Run = Callable[..., Outcome]

JOB = ("--model", "qwen3-4b", "--global-batch", "32", "--seq-len", "4096", "--tp", "1", "--micro-batch", "1")
NARROW = ("--recompute", "none", "--shard", "none", "--cp", "1", "--schedule", "1f1b")
HALVES = ("--cluster", "dgx-a100-pod:2,dgx-h100-pod:2")


def test_mixed_prints_the_stages_of_the_best_layout(run_glmplan: Run) -> None:
    outcome = run_glmplan("mixed", *JOB, *NARROW, *HALVES)
    assert outcome.code == 0, outcome.err
    assert "Stages of the best" in outcome.out
    assert "dgx-h100-pod" in outcome.out


def test_mixed_gives_its_record_as_json(run_glmplan: Run) -> None:
    outcome = run_glmplan("mixed", *JOB, *NARROW, *HALVES, "--top", "1", "--format", "json")
    record = json.loads(outcome.out)
    best = record["best"][0]
    assert sum(best["layout"]["stage_layers"]) == 36
    assert best["step_time_s"] < best["even_step_time_s"]
    assert len(best["stage_clusters"]) == len(best["layout"]["stage_layers"]) == best["layout"]["pp"]


@pytest.mark.parametrize(
    ("cluster", "reason"),
    [
        ("dgx-a100-pod:2", "mixed needs two kinds or more"),
        ("dgx-a100-pod:2,dgx-h100-pod", "expected NAME:GPUS"),
        ("dgx-a100-pod:2,dgx-h100-pod:many", "expected NAME:GPUS"),
        ("dgx-a100-pod:2,nowhere:2", "nowhere"),
    ],
)
def test_mixed_says_what_is_wrong_with_its_clusters(run_glmplan: Run, cluster: str, reason: str) -> None:
    outcome = run_glmplan("mixed", *JOB, "--cluster", cluster)
    assert outcome.code == 2
    assert reason in outcome.err
    assert "Traceback" not in outcome.err


def test_plan_takes_optimal_stages(run_glmplan: Run) -> None:
    arguments = (
        "plan",
        *JOB,
        *NARROW,
        "--pp",
        "4",
        "--virtual-stages",
        "1",
        "--cluster",
        "dgx-h100-pod",
        "--gpus",
        "4",
    )
    outcome = run_glmplan(*arguments, "--stages", "optimal")
    assert outcome.code == 0, outcome.err
    assert "Stages:" in outcome.out and "faster than the best layout with even stages" in outcome.out
    again = run_glmplan(*arguments, "--stages", "optimal", "--objective", "memory")
    assert again.code == 2
    assert "--stages: optimal goes with --objective time" in again.err
