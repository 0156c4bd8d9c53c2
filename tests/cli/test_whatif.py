"""glmplan whatif, compare, sensitivity and scale, from arguments to output."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from glmplan.plan.document import read_plan, write_plan
from tests.conftest import Outcome

Run = Callable[..., Outcome]
MODEL = ("--model", "llama3-8b", "--cluster", "dgx-h100-pod", "--global-batch", 32, "--seq-len", 4096)
NARROW = ("--tp", "1,2", "--pp", 1, "--cp", 1, "--recompute", "none,full")


@pytest.fixture(scope="session")
def plan_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan of 16 GPUs, made once."""
    from glmplan.architecture.catalog import load_architecture
    from glmplan.layout.choices import Choices
    from glmplan.layout.parallel_layout import Recompute
    from glmplan.plan.request import PlanRequest
    from glmplan.search.planner import load_problem, make_plan
    from glmplan.workload.job import TrainingJob

    job = TrainingJob(architecture=load_architecture("llama3-8b"), seq_len=4096, global_batch=32)
    choices = Choices(tp=(1, 2), pp=(1,), cp=(1,), recompute=(Recompute.NONE, Recompute.FULL))
    request = PlanRequest(job=job, cluster="dgx-h100-pod", num_gpus=16, stack="megatron-core", choices=choices)
    path = tmp_path_factory.mktemp("plans") / "plan.json"
    write_plan(make_plan(load_problem(request)), path)
    return path


def test_a_what_if_shows_before_and_after_and_the_best_after(run_glmplan: Run, plan_path: Path) -> None:
    outcome = run_glmplan(
        "whatif", plan_path, "--set", "device.memory_bandwidth=+20%", "--set", "layout.tp=2", "--replan"
    )
    assert outcome.code == 0
    for text in ("3.35 TB/s", "4.02 TB/s", "before", "after", "re-planned", "Assumed for device.memory_bandwidth"):
        assert text in outcome.out
    assert outcome.err == ""


def test_a_what_if_as_json_holds_both_options(run_glmplan: Run, plan_path: Path) -> None:
    data = json.loads(run_glmplan("whatif", plan_path, "--set", "job.global_batch=64", "--format", "json").out)
    assert data["schema_version"] == 1
    assert data["changes"] == [{"name": "job.global_batch", "before": "32", "after": "64", "assumption": ""}]
    before, after = data["before"], data["after"]
    assert before["layout"] == json.loads(plan_path.read_text())["chosen"]["layout"]
    assert after["layout"]["grad_accum"] == 2 * before["layout"]["grad_accum"]
    assert data["replanned"] is None
    step = next(row for row in data["rows"] if row["name"] == "step time")
    assert step["values"] == [before["estimate"]["step_time_s"], after["estimate"]["step_time_s"]]


@pytest.mark.parametrize("output_format", ["csv", "md"])
def test_every_format_has_the_same_rows(run_glmplan: Run, plan_path: Path, output_format: str) -> None:
    outcome = run_glmplan("whatif", plan_path, "--set", "device.peak_flops=x2", "--format", output_format)
    if output_format == "csv":
        rows = {row["name"]: row for row in csv.DictReader(io.StringIO(outcome.out))}
        assert -0.5 < float(rows["step time"]["change"]) < -0.2
    else:
        assert "| device.peak_flops | 989 TFLOP/s | 1.978 PFLOP/s |" in outcome.out
        assert "\n- " in outcome.out


def test_the_names_are_listed_with_their_values(run_glmplan: Run, plan_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run_glmplan("whatif", plan_path, "--list", "--format", "csv").out)))
    values = {row["name"]: row["now"] for row in rows}
    assert values["device.memory_bandwidth"] == "3.35 TB/s"
    assert values["job.gpus"] == "16"
    assert "layout.dp" not in values


def test_a_plan_that_today_costs_otherwise_is_taken_up_with_a_note(
    run_glmplan: Run, plan_path: Path, tmp_path: Path
) -> None:
    plan = read_plan(plan_path)
    estimate = plan.chosen.estimate.model_copy(update={"step_time_s": plan.chosen.estimate.step_time_s * 2})
    old = plan.model_copy(update={"chosen": plan.chosen.model_copy(update={"estimate": estimate})})
    write_plan(old, tmp_path / "old.json")
    outcome = run_glmplan("whatif", tmp_path / "old.json", "--set", "layout.tp=2")
    assert outcome.code == 0
    assert "note: the plan states" in outcome.err


def test_plans_are_compared_side_by_side(run_glmplan: Run, plan_path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    assert run_glmplan("plan", *MODEL, *NARROW, "--gpus", 32, "-o", other).code == 0
    text = run_glmplan("compare", plan_path, other)
    assert text.code == 0
    assert "other was asked for GPUs 32 instead of 16." in text.out
    data = json.loads(run_glmplan("compare", plan_path, other, "--format", "json").out)
    assert data["plans"] == ["plan", "other"]
    assert all(len(row["values"]) == 2 and len(row["changes"]) == 1 for row in data["rows"])
    assert any("intervals" in sentence for sentence in data["sentences"])


def test_a_sensitivity_names_figures_and_upgrades_and_writes_a_page(
    run_glmplan: Run, plan_path: Path, tmp_path: Path
) -> None:
    page = tmp_path / "sensitivity.html"
    outcome = run_glmplan("sensitivity", plan_path, "--format", "json", "-o", page)
    assert outcome.code == 0
    data = json.loads(outcome.out)
    assert data["figures"][0]["name"] in ("device.compute_derate", "device.peak_flops")
    assert {upgrade["name"] for upgrade in data["upgrades"]} >= {"twice the network cards", "25% more device memory"}
    assert 'id="chart-tornado-data"' in page.read_text(encoding="utf-8")
    again = run_glmplan("sensitivity", plan_path, "--no-upgrades", "--format", "json")
    assert json.loads(again.out)["figures"] == data["figures"]
    assert json.loads(again.out)["upgrades"] == []


def test_scaling_curves_are_printed_and_drawn(run_glmplan: Run, tmp_path: Path) -> None:
    page = tmp_path / "scale.html"
    arguments = ("scale", *MODEL, *NARROW, "--gpus", "16,8")
    data = json.loads(run_glmplan(*arguments, "--format", "json", "-o", page).out)
    assert [curve["mode"] for curve in data["curves"]] == ["strong", "weak"]
    assert [point["num_gpus"] for point in data["curves"][0]["points"]] == [8, 16]
    assert [point["global_batch"] for point in data["curves"][1]["points"]] == [32, 64]
    assert 'id="chart-throughput-data"' in page.read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(run_glmplan(*arguments, "--mode", "weak", "--format", "csv").out)))
    assert [row["GPUs"] for row in rows] == ["8", "16"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("whatif", "{plan}"), 2, "--set: give at least one change"),
        (("whatif", "{plan}", "--set", "device.memory_bandwith=+1%"), 2, "did you mean device.memory_bandwidth"),
        (("whatif", "{plan}", "--set", "layout.pp=3"), 2, "--replan finds one that can"),
        (("whatif", "{plan}", "--set", "job.precision=nvfp4"), 4, "no peak is known for nvfp4"),
        (("whatif", "none.json", "--set", "layout.tp=2"), 2, "none.json: no such file"),
        (("whatif", "{plan}", "--set", "layout.tp=2", "--calibration", "none.yaml"), 2, "none.yaml"),
        (("compare", "{plan}"), 2, "give at least two plans"),
        (("compare", "{plan}", "none.json"), 2, "none.json: no such file"),
        (("sensitivity", "{plan}", "--swing", 2), 2, "Invalid value for '--swing'"),
        (("sensitivity", "{plan}", "--no-upgrades", "-o", "{plan}"), 2, "exists and was not made by glmplan"),
        (("scale", *MODEL, "--gpus", "8,x"), 2, "--gpus: expected whole numbers above 0"),
        (("scale", *MODEL, "--gpus", "8,12"), 2, "12 is not a multiple of the 8 devices"),
        (("scale", *MODEL, "--gpus", "1", "--tp", 1, "--mode", "strong"), 3, "nothing fits on any of 1 GPU"),
    ],
)
def test_bad_input_is_one_line_with_its_exit_code(
    run_glmplan: Run, plan_path: Path, arguments: tuple[object, ...], code: int, message: str
) -> None:
    outcome = run_glmplan(*(str(argument).format(plan=plan_path) for argument in arguments))
    assert outcome.code == code
    assert message in outcome.err
    assert len([line for line in outcome.err.splitlines() if line.startswith("glmplan: ")]) == 1
