"""The program's data say of a split what the cost model says of it."""

import itertools
from typing import Any

import numpy as np
import pytest

from glmplan.cost.memory import needed_bytes
from glmplan.cost.step import CostModel
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Recompute, Sharding
from glmplan.search.stage_assignment import StageAssignment, assign_stages
from glmplan.search.stage_coefficients import StagePart, even, stage_problem
from glmplan.search.stage_planning import with_stages
from glmplan.search.stage_problem import StageProblem, stage_bytes, step_seconds
from tests.search.stage_problems import solutions
from tests.small_jobs import costs

LAYOUTS: dict[str, dict[str, Any]] = {
    "dense": {"pp": 2, "tp": 4, "dp": 2, "grad_accum": 4, "sharding": Sharding.ZERO1, "shard_group": 2},
    "experts": {"pp": 4, "ep": 2, "dp": 4, "grad_accum": 2},
    "latent": {"pp": 2, "ep": 4, "dp": 8, "grad_accum": 1, "sharding": Sharding.FSDP, "shard_group": 8},
    "encoder-decoder": {"pp": 4, "tp": 4, "grad_accum": 8},
}


def problem_of(
    kind: str, recompute: Recompute, capacity_bytes: float = 1e12
) -> tuple[CostModel, ParallelLayout, StageProblem]:
    model = costs(kind)
    layout = ParallelLayout(**LAYOUTS[kind], recompute=recompute)
    part = StagePart(model=model, num_stages=layout.pp, capacity_bytes=capacity_bytes)
    return model, layout, stage_problem([part], layout, partial=True)


def stated(layout: ParallelLayout, problem: StageProblem, options: Any, layers: Any) -> ParallelLayout:
    """The split as a layout."""
    changes: dict[str, Any] = {"stage_layers": tuple(int(each) for each in layers.sum(axis=1))}
    if options.shape[2] > 1:
        changes["stage_recompute_layers"] = tuple(int(each) for each in options[:, :, 0].sum(axis=1))
    return even(layout).model_copy(update=changes)


@pytest.mark.parametrize("kind", list(LAYOUTS))
@pytest.mark.parametrize("recompute", list(Recompute))
def test_bytes_of_any_split_are_those_of_the_cost_model(kind: str, recompute: Recompute) -> None:
    model, layout, problem = problem_of(kind, recompute)
    some = [split for split in solutions(problem) if (split[1].sum(axis=1) >= 1).all()][::7][:60]
    table = LayoutTable.of(*(stated(layout, problem, *split) for split in some))
    expected = needed_bytes(model.memory(table))
    found = [stage_bytes(problem, options).max() for options, _ in some]
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", list(LAYOUTS))
@pytest.mark.parametrize("recompute", list(Recompute))
def test_steps_of_splits_differ_as_in_the_cost_model(kind: str, recompute: Recompute) -> None:
    # the program leaves out constants, and takes bubbles and hidden exchange as with even stages
    model, layout, problem = problem_of(kind, recompute)
    some = [split for split in solutions(problem) if (split[1].sum(axis=1) >= 1).all()][::7][:60]
    table = LayoutTable.of(*(stated(layout, problem, *split) for split in some))
    expected = model.estimate(table).step_time_s
    found = np.array([step_seconds(problem, *split) for split in some])
    rest = expected - found
    assert np.ptp(rest) <= 0.02 * expected.min()


@pytest.mark.parametrize("kind", list(LAYOUTS))
@pytest.mark.parametrize("share", [0.55, 0.8, 1.0])
def test_the_split_found_is_the_cost_models_best_of_all(kind: str, share: float) -> None:
    _, layout, problem = problem_of(kind, Recompute.FULL)
    model = costs(kind)
    every = [split for split in itertools.islice(solutions(problem), 20_000) if (split[1][1:-1].sum(axis=1) >= 1).all()]
    table = LayoutTable.of(*(stated(layout, problem, *split) for split in every))
    peaks = needed_bytes(model.memory(table))
    capacity_bytes = float(peaks.min() + share * (peaks.max() - peaks.min()))
    _, _, limited = problem_of(kind, Recompute.FULL, capacity_bytes)
    found = assign_stages(limited)
    assert isinstance(found, StageAssignment)
    chosen = LayoutTable.of(with_stages(layout, found, partial=True))
    step_s = float(model.estimate(chosen).step_time_s[0])
    best_s = float(model.estimate(table.take(peaks <= capacity_bytes)).step_time_s.min())
    assert needed_bytes(model.memory(chosen))[0] <= capacity_bytes * (1 + 1e-9)
    assert best_s * (1 - 1e-9) <= step_s <= best_s * 1.01


def test_a_split_that_repeats_all_or_nothing_is_written_shortly() -> None:
    _, layout, problem = problem_of("dense", Recompute.FULL)
    found = assign_stages(problem)
    assert isinstance(found, StageAssignment)
    chosen = with_stages(layout, found, partial=True)
    assert chosen.recompute is Recompute.NONE
    assert chosen.stage_recompute_layers is None
