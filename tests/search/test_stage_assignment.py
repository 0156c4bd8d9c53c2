"""The integer program for stages equals trying every split."""

import time
from dataclasses import replace

import numpy as np
import pytest

from glmplan.search.integer_program import Outcome
from glmplan.search.stage_assignment import StageAssignment, StageShortfall, assign_stages
from glmplan.search.stage_problem import StageProblem, evenly, stage_bytes, stage_seconds, step_seconds
from tests.search.stage_problems import best_by_trying, plain_problem, random_problem, solutions


@pytest.mark.parametrize("seed", range(36))
def test_the_program_equals_trying_every_split(seed: int) -> None:
    problem = random_problem(seed)
    best, found = best_by_trying(problem), assign_stages(problem)
    if best is None:
        assert isinstance(found, StageShortfall)
        return
    assert isinstance(found, StageAssignment)
    assert found.step_s == pytest.approx(best, rel=1e-9)
    assert found.gap == 0.0
    assert found.proof.bound <= best * (1 + 1e-9)
    assert (stage_bytes(problem, found.options) <= problem.capacity_bytes * (1 + 1e-9)).all()


@pytest.mark.parametrize("seed", range(10))
def test_the_fallback_solver_finds_the_same(seed: int) -> None:
    problem = random_problem(seed)
    found, other = assign_stages(problem, solver="cbc"), assign_stages(problem)
    assert type(found) is type(other)
    if isinstance(found, StageAssignment) and isinstance(other, StageAssignment):
        assert found.step_s == pytest.approx(other.step_s, rel=1e-9)
        assert (found.proof.solver, other.proof.solver) == ("cbc", "highs")


@pytest.mark.parametrize("seed", range(0, 70, 7))
def test_without_a_solution_it_says_which_stage_lacks_how_much(seed: int) -> None:
    problem = random_problem(seed)
    found = assign_stages(problem)
    assert isinstance(found, StageShortfall)
    least = min((stage_bytes(problem, chosen) - problem.capacity_bytes).max() for chosen, _ in solutions(problem))
    assert found.missing_bytes == pytest.approx(least, abs=1e-7)
    assert found.stage is not None
    assert f"stage {found.stage + 1} lacks" in found.sentence()


def test_more_chunks_than_layers_are_refused_with_the_reason() -> None:
    problem = replace(plain_problem(layers=3, stages=4), fewest_layers=np.ones(4, dtype=np.int64))
    found = assign_stages(problem)
    assert isinstance(found, StageShortfall)
    assert "fewer layers than the chunks need" in found.sentence()


def test_a_heavy_head_takes_layers_from_the_last_stage() -> None:
    # 10 layers of 1 s and a head of 2 s on 3 stages: 12 s in all, so 4 s a stage: 4, 4 and 2 layers
    problem = plain_problem(layers=10, stages=3, head_s=2.0, micro_batches=8)
    found = assign_stages(problem)
    assert isinstance(found, StageAssignment)
    assert found.stage_layers == (4, 4, 2)
    assert found.step_s == pytest.approx(7 * 4.0 + 12.0)


def test_a_twice_as_fast_device_takes_twice_the_layers() -> None:
    problem = plain_problem(layers=9, stages=2, micro_batches=100)
    faster = problem.layer_s / np.array([1.0, 2.0])[:, None, None]
    found = assign_stages(replace(problem, layer_s=faster))
    assert isinstance(found, StageAssignment)
    assert found.stage_layers == (3, 6)


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_tidying_keeps_the_step_and_never_needs_more_memory(seed: int) -> None:
    problem = random_problem(seed)
    first, tidy = assign_stages(problem), assign_stages(problem, tidy=True)
    assert isinstance(first, StageAssignment) and isinstance(tidy, StageAssignment)
    assert tidy.step_s == pytest.approx(first.step_s, rel=1e-8)
    allowed = stage_bytes(problem, first.options).max() + 0.011 * problem.capacity_bytes.max()
    assert stage_bytes(problem, tidy.options).max() <= min(allowed, problem.capacity_bytes.max() * (1 + 1e-9))


@pytest.mark.parametrize("seed", range(1, 20))
def test_even_stages_are_never_better(seed: int) -> None:
    problem = random_problem(seed)
    best, even = assign_stages(problem), assign_stages(evenly(problem))
    if problem.chunks_per_stage == 1 and isinstance(even, StageAssignment):
        assert isinstance(best, StageAssignment)
        assert best.step_s <= even.step_s * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(1, 20))
def test_more_memory_never_slows_the_step(seed: int) -> None:
    problem = random_problem(seed)
    found = assign_stages(problem)
    roomier = assign_stages(replace(problem, capacity_bytes=problem.capacity_bytes * 1.3))
    if isinstance(found, StageAssignment):
        assert isinstance(roomier, StageAssignment)
        assert roomier.step_s <= found.step_s * (1 + 1e-9)


def large_problem(*, tight: float) -> StageProblem:
    """126 layers on 32 stages, the last with a head, with memory so tight that early stages recompute."""
    stages, in_flight = 32, 32.0 - np.arange(32)
    layer_bytes = np.stack([1.0 + 0.01 * in_flight, 1.0 + 0.12 * in_flight], axis=-1)[None, :, None]
    problem = plain_problem(layers=126, stages=stages, head_s=2.5, micro_batches=128)
    return replace(
        problem,
        layer_s=np.broadcast_to([4.0 / 3.0, 1.0], (stages, 1, 2)),
        layer_bytes=layer_bytes,
        workspace_bytes=np.array([[[0.5, 0.0]]]),
        capacity_bytes=np.full(stages, tight),
        first_option_first=True,
    )


@pytest.mark.parametrize("tight", [30.0, 11.0, 9.0])
def test_the_largest_models_take_seconds_and_are_proven_optimal(tight: float) -> None:
    problem, start = large_problem(tight=tight), time.process_time()
    found = assign_stages(problem)
    assert time.process_time() - start < 10.0
    assert isinstance(found, StageAssignment)
    assert found.proof.outcome is Outcome.OPTIMAL and found.gap == 0.0
    assert found.proof.relaxed <= found.step_s * (1 + 1e-9)
    assert sum(found.stage_layers) == 126
    assert found.options[:, 0, 0].any() == (tight < 20.0)


def test_out_of_time_there_is_a_gap_or_no_answer_but_no_claim() -> None:
    problem = large_problem(tight=9.0)
    found = assign_stages(problem, time_limit_s=1e-3)
    if isinstance(found, StageShortfall):
        assert found.outcome is Outcome.UNKNOWN
        assert "time limit" in found.sentence()
    else:
        assert found.proof.outcome is Outcome.FEASIBLE
        assert found.proof.bound <= found.step_s


def test_the_objective_is_the_step_of_its_stages() -> None:
    problem = plain_problem(layers=10, stages=3, head_s=2.0, micro_batches=8)
    options = np.array([[[4]], [[4]], [[2]]])
    assert stage_seconds(problem, options).tolist() == [4.0, 4.0, 4.0]
    assert step_seconds(problem, options, options[:, :, 0]) == pytest.approx(40.0)
