"""Explanations and rows of a plan: held against the plan's own numbers."""

import re

import pytest

from glmplan.cost.estimate import Grade, MemoryBreakdown, TimeBreakdown
from glmplan.plan.document import Plan
from glmplan.plan.explanation import explain
from glmplan.plan.part_names import GRADE_SENTENCES, MEMORY_NAMES, TIME_NAMES
from glmplan.plan.table import HEADERS, layout_rows
from tests.plan.test_document import plan_of


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of("experts", 8)


def test_every_part_has_words() -> None:
    assert set(TIME_NAMES) == set(TimeBreakdown.model_fields)
    assert set(MEMORY_NAMES) == set(MemoryBreakdown.model_fields)
    assert set(GRADE_SENTENCES) == set(Grade)


def test_the_explanation_names_layout_binding_parts_runner_up_and_grade(plan: Plan) -> None:
    sentences = explain(plan)
    assert sentences == list(plan.explanation)
    assert sentences[0].startswith(plan.chosen.layout.label())
    assert f"on {plan.request.num_gpus} {plan.cluster.device}" in sentences[0]
    assert "no legal layout is faster" in sentences[0]
    largest = max(TIME_NAMES, key=lambda name: getattr(plan.chosen.estimate.time, name))
    assert sentences[1].startswith(f"The step goes to {TIME_NAMES[largest]}")
    assert "stay free" in sentences[2]
    assert sentences[3].startswith("The binding resource is ")
    assert plan.alternatives[0].layout.label() in sentences[4]
    assert sentences[-1] == GRADE_SENTENCES[plan.chosen.estimate.grade]
    assert f"{plan.search.feasible:,} fit" in " ".join(sentences)


def test_shares_of_the_step_are_at_most_the_whole(plan: Plan) -> None:
    for sentence in explain(plan)[1:3]:
        shares = [int(share) for share in re.findall(r"(\d+)%", sentence)]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) <= 100 + len(shares)


def test_a_layout_that_is_too_large_says_by_how_much(plan: Plan) -> None:
    estimate = plan.chosen.estimate.model_copy(update={"memory_capacity_bytes": 2.0**30})
    tight = plan.model_copy(update={"chosen": plan.chosen.model_copy(update={"estimate": estimate})})
    assert "too much" in explain(tight)[2]


def test_a_runner_up_that_equals_the_best_is_said_to(plan: Plan) -> None:
    twin = plan.model_copy(update={"alternatives": (plan.chosen,)})
    runner_up = next(sentence for sentence in explain(twin) if "runner-up" in sentence)
    assert runner_up.endswith("is predicted to take the same time and memory.")
    alone = plan.model_copy(update={"alternatives": ()})
    assert not any("runner-up" in sentence for sentence in explain(alone))


def test_rows_stand_in_the_order_of_the_plan(plan: Plan) -> None:
    rows = layout_rows(plan)
    assert all(len(row) == len(HEADERS) for row in rows)
    assert [row[0] for row in rows] == [str(rank) for rank in range(1, len(rows) + 1)]
    assert [row[1] for row in rows] == [option.layout.label() for option in (plan.chosen, *plan.alternatives)]
