"""Plans whose stages an integer program splits."""

from pathlib import Path
from typing import Any

import pytest

from glmplan.errors import InputError
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Recompute
from glmplan.layout.rules import broken_rules
from glmplan.plan.document import Plan, read_plan, write_plan
from glmplan.plan.request import PlanRequest
from glmplan.search.planner import Problem, load_problem, make_plan, plan_of_layout
from glmplan.search.stage_planning import stage_candidates
from glmplan.search.stage_seconds import least_step_s
from tests.small_jobs import all_candidates, job_of, model

LARGE: dict[str, Any] = {
    "layers": 16,
    "hidden": 2048,
    "heads": 16,
    "kv_heads": 8,
    "head_dim": 128,
    "ffn_hidden": 5632,
    "vocab": 64_000,
}


def problem_of(kind: str = "dense", **changes: Any) -> Problem:
    """A small model with a large vocabulary on eight devices."""
    fields: dict[str, Any] = {
        "job": job_of(model(kind, **LARGE), seq_len=2048, global_batch=16),
        "cluster": "dgx-a100-pod",
        "num_gpus": 8,
        "stack": "megatron-core",
        "choices": Choices(pp=(4,), tp=(1, 2), virtual_stages=(1,), micro_batch=(1, 2)),
        "stages": "optimal",
        "top": 3,
    }
    return load_problem(PlanRequest(**(fields | changes)))


@pytest.fixture(scope="module")
def plans() -> tuple[Problem, Plan, Plan]:
    """A problem, its plan and the plan with even stages."""
    problem = problem_of()
    return problem, make_plan(problem), make_plan(problem_of(stages="uniform"))


def test_a_heavy_head_makes_uneven_stages_faster(plans: tuple[Problem, Plan, Plan]) -> None:
    _, plan, uniform = plans
    stages = plan.chosen.layout.stage_layers
    assert stages is not None and sum(stages) == 16 and stages[-1] < max(stages)
    assert plan.chosen.estimate.step_time_s < 0.95 * uniform.chosen.estimate.step_time_s
    assert plan.search.stages is not None
    assert plan.search.stages.even_step_time_s == uniform.chosen.estimate.step_time_s
    assert plan.search.stages.programs > 0
    assert uniform.search.stages is None


def test_the_bound_is_below_and_the_gap_between(plans: tuple[Problem, Plan, Plan]) -> None:
    search, step_s = plans[1].search, plans[1].chosen.estimate.step_time_s
    assert search.stages is not None
    assert search.stages.bound_step_time_s <= step_s
    assert search.gap == pytest.approx(1 - search.stages.bound_step_time_s / step_s, abs=1e-6)
    assert search.optimal == (search.gap == 0.0)


def test_the_plan_keeps_the_rules_is_costed_alike_and_survives_its_file(
    plans: tuple[Problem, Plan, Plan], tmp_path: Path
) -> None:
    problem, plan, _ = plans
    assert broken_rules(plan.chosen.layout, problem.context) == []
    again = plan_of_layout(problem, plan.chosen.layout)
    assert again.chosen.estimate.step_time_s == plan.chosen.estimate.step_time_s
    write_plan(plan, tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == plan


def test_the_explanation_tells_gain_and_proof(plans: tuple[Problem, Plan, Plan]) -> None:
    sentence = next(text for text in plans[1].explanation if text.startswith("Stages:"))
    assert "faster than the best layout with even stages" in sentence
    assert "integer programs, highs" in sentence


def test_options_are_in_order_and_the_even_ones_among_them(plans: tuple[Problem, Plan, Plan]) -> None:
    plan = plans[1]
    steps = [option.estimate.step_time_s for option in (plan.chosen, *plan.alternatives)]
    assert steps == sorted(steps)
    assert len(steps) == 3


@pytest.mark.parametrize("kind", ["experts", "encoder-decoder"])
def test_optimal_stages_are_never_slower_than_even_ones(kind: str) -> None:
    job = job_of(model(kind, layers=3), global_batch=8)
    choices = Choices(virtual_stages=(1,), micro_batch=(1,))
    plan = make_plan(problem_of(job=job, choices=choices))
    uniform = make_plan(problem_of(job=job, choices=choices, stages="uniform"))
    assert plan.chosen.estimate.step_time_s <= uniform.chosen.estimate.step_time_s * (1 + 1e-9)


def test_what_was_not_asked_for_is_not_chosen() -> None:
    choices = Choices(pp=(4,), tp=(1,), virtual_stages=(1,), micro_batch=(1,), recompute=(Recompute.FULL,))
    chosen = make_plan(problem_of(choices=choices)).chosen.layout
    assert chosen.recompute is Recompute.FULL


def test_a_tight_memory_recomputes_where_most_micro_batches_are_in_flight() -> None:
    choices = Choices(
        pp=(4,), tp=(1,), virtual_stages=(1,), micro_batch=(1,), recompute=(Recompute.NONE, Recompute.FULL)
    )
    roomy = make_plan(problem_of(choices=choices)).chosen.estimate
    margin = 1.0 - 0.97 * roomy.peak_memory_bytes / roomy.memory_capacity_bytes
    tight = make_plan(problem_of(choices=choices, memory_margin=margin)).chosen
    assert tight.estimate.peak_memory_bytes <= 0.97 * roomy.peak_memory_bytes * (1 + 1e-9)
    assert tight.estimate.step_time_s >= roomy.step_time_s


def test_only_time_can_be_the_objective() -> None:
    with pytest.raises(InputError, match="--stages: optimal goes with --objective time"):
        make_plan(problem_of(objective="memory"))


def test_no_split_beats_the_bound_that_sorts_the_candidates() -> None:
    problem = problem_of()
    table = all_candidates(problem.context, problem.request.choices)
    table = table.take(table.pp > 1)
    assert (least_step_s(problem.model, table, partial=False) <= problem.model.estimate(table).step_time_s).all()


def test_candidates_beyond_those_kept_still_bound_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of()
    table = all_candidates(problem.context, problem.request.choices)
    every = stage_candidates(problem.model, problem.context, problem.request.choices)
    every.add(table)
    monkeypatch.setattr("glmplan.search.stage_planning.MOST_WAITING", 5)
    few = stage_candidates(problem.model, problem.context, problem.request.choices)
    half = len(table) // 2
    few.add(table.take(slice(0, half)))
    few.add(table.take(slice(half, len(table))))
    assert few.bounds.tolist() == every.bounds[:5].tolist()
    assert few.dropped_s == every.bounds[5]


def test_a_search_cut_short_reports_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glmplan.search.stage_planning.MOST_PROGRAMS", 1)
    plan = make_plan(problem_of())
    assert plan.search.stages is not None and plan.search.stages.programs == 1
    assert plan.search.gap > 0 and not plan.search.optimal


def test_a_layout_without_a_pipeline_is_no_candidate() -> None:
    problem = problem_of()
    waiting = stage_candidates(problem.model, problem.context, problem.request.choices)
    waiting.add(LayoutTable.of(ParallelLayout(dp=8, grad_accum=2)))
    assert not len(waiting.bounds)


def test_even_stages_are_written_as_such_and_listed_once() -> None:
    arch = model(**(LARGE | {"vocab": 64}))
    plan = make_plan(problem_of(job=job_of(arch, seq_len=2048, global_batch=16), choices=Choices(pp=(4,), tp=(1,))))
    layouts = [option.layout for option in (plan.chosen, *plan.alternatives)]
    assert all(layout.stage_layers is None for layout in layouts)
    assert len(set(layouts)) == len(layouts)
