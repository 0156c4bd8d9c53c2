"""Layouts around a chosen one: held against the whole space, and against planning with more memory."""

import numpy as np
import pytest

from glmplan.layout.candidates import candidates
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout
from glmplan.plan.document import Plan
from glmplan.search.changed_problem import changed_problem
from glmplan.search.planner import Problem, best_option, explained, load_problem, make_plan, plan_of_layout
from glmplan.search.surroundings import DEGREES, WORTH_A_CHANGE
from tests.search.planned_jobs import small_plan, small_problem
from tests.search.test_planner import request_for


def tight_problem() -> Problem:
    """Llama-3 8B where memory decides: half of a node's usual devices."""
    return load_problem(request_for(num_gpus=4, choices=Choices(micro_batch=(1, 2))))


@pytest.fixture(scope="module")
def tight() -> Plan:
    return make_plan(tight_problem())


def test_the_best_of_other_degrees_is_that_of_the_whole_space() -> None:
    problem, plan = small_problem(), small_plan()
    whole = explained(problem, plan, whole_space=True).surroundings
    assert whole is not None and whole.different is not None
    table = LayoutTable.concatenate([batch.table for batch in candidates(problem.context, Choices())])
    chosen = plan.chosen.layout
    other = np.any([getattr(table, name) != getattr(chosen, name) for name in DEGREES], axis=0)
    estimates = problem.model.estimate(table.take(other))
    times = estimates.step_time_s[estimates.fits(problem.request.memory_margin)]
    assert whole.different.estimate.step_time_s <= times.min() * (1 + 1e-9)
    assert any(getattr(whole.different.layout, name) != getattr(chosen, name) for name in DEGREES)
    near = plan.surroundings
    assert near is not None and near.different is not None
    assert near.different.estimate.step_time_s >= whole.different.estimate.step_time_s


def test_with_the_memory_said_to_be_wanted_the_answer_changes(tight: Plan) -> None:
    assert tight.surroundings is not None
    assert tight.surroundings.larger
    option = tight.surroundings.larger[0]
    capacity = tight.cluster.memory_capacity_bytes
    needed = option.estimate.peak_memory_bytes / (1 - tight.request.memory_margin)
    assert needed > capacity
    assert option.estimate.step_time_s * (1 + WORTH_A_CHANGE) <= tight.chosen.estimate.step_time_s
    factor = needed / capacity * (1 + 1e-9)
    richer = changed_problem(tight_problem(), factors={"device.memory_capacity": factor})
    best = best_option(richer)
    assert best is not None
    assert best.estimate.step_time_s <= option.estimate.step_time_s * (1 + 1e-9)
    sentence = next(text for text in tight.explanation if text.startswith("More memory would change the answer"))
    assert option.layout.label() in sentence


def test_where_everything_fits_memory_does_not_bind() -> None:
    around = small_plan().surroundings
    assert around is not None
    assert around.larger == ()
    assert any(text.startswith("Memory does not bind") for text in small_plan().explanation)


def test_a_layout_that_is_too_large_gets_the_nearest_that_fits() -> None:
    problem = load_problem(request_for())
    layout = ParallelLayout(dp=8, grad_accum=2)
    plan = explained(problem, plan_of_layout(problem, layout))
    assert plan.surroundings is not None and plan.surroundings.fitting is not None
    fitting = plan.surroundings.fitting
    assert fitting.estimate.peak_memory_bytes <= plan.cluster.memory_capacity_bytes * (1 - 0.05)
    changed = {name for name, value in fitting.layout if value != getattr(layout, name)}
    assert changed - {"shard_group"} == {"sharding"}
    sentence = next(text for text in plan.explanation if text.startswith("It does not fit"))
    assert f"sets sharding to {fitting.layout.sharding}: {fitting.layout.label()}" in sentence


def test_limits_of_the_request_hold_for_the_surroundings() -> None:
    problem = load_problem(request_for(choices=Choices(tp=(2,), pp=(1,), cp=(1,))))
    around = make_plan(problem).surroundings
    assert around is not None
    assert around.different is None
    assert all(option.layout.tp == 2 for option in around.larger)
