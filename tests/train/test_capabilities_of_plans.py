"""Whatever the planner may choose for the built-in trainer, the trainer takes."""

import itertools

import pytest

from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import ParallelLayout, Recompute, Schedule
from glmplan.layout.rules import broken_rules
from glmplan.software.catalog import load_stack
from glmplan.train.capabilities import check_supported
from tests.small_jobs import all_candidates, context_of
from tests.train.jobs import tiny_job


@pytest.mark.parametrize("stack", ["glmplan", "glmplan-compiled"])
@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("layers", [2, 4])
def test_every_candidate_of_the_planner_is_supported(stack: str, ranks: int, layers: int) -> None:
    job = tiny_job(layers=layers)
    table = all_candidates(context_of(job, ranks, load_stack(stack).support), Choices())
    layouts = [table.row(index) for index in range(len(table))]
    for layout in layouts:
        check_supported(job, layout)
    if ranks > 1:
        assert {layout.pp for layout in layouts} >= {1, 2}
    if ranks == 2 and layers == 4:
        assert {layout.schedule for layout in layouts} == {
            Schedule.GPIPE,
            Schedule.ONE_F_ONE_B,
            Schedule.INTERLEAVED,
        }


def test_every_split_of_layers_that_keeps_the_rules_is_supported() -> None:
    job = tiny_job(layers=3)
    context = context_of(job, 2, load_stack("glmplan").support)
    legal = 0
    for held, numbers in itertools.product(itertools.product(range(4), repeat=2), repeat=2):
        layout = ParallelLayout(
            pp=2, grad_accum=8, stage_layers=held, recompute=Recompute.FULL, stage_recompute_layers=numbers
        )
        if not broken_rules(layout, context):
            check_supported(job, layout)
            legal += 1
    assert legal == 4 * 16
