"""The exhaustive search finds what a loop over all layouts finds."""

from typing import Any

import numpy as np
import pytest

from glmplan.cost.estimate import StepEstimate
from glmplan.cost.step import CostModel, cost_model
from glmplan.layout import candidates as candidates_module
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Recompute, Sharding
from glmplan.layout.rules import Context
from glmplan.search import exhaustive as exhaustive_module
from glmplan.search.exhaustive import NOT_FASTER, NOT_SMALLER, TOO_LARGE, SearchResult, search_layouts
from glmplan.search.objective import Objective, ranking
from glmplan.software.catalog import load_stack
from tests.small_jobs import all_candidates, cluster_of, context_of, costs, job_of, legal_layouts, model

CAPACITY_BYTES = 80 * 2**30


def instance(seed: int) -> tuple[CostModel, Context, Choices, float]:
    """A small random problem whose memory margin cuts away some of its layouts."""
    rng = np.random.default_rng(seed)
    kind = ["dense", "experts"][seed % 2]
    arch = model(kind, layers=int(rng.integers(2, 5)), hidden=int(rng.choice([256, 512])), vocab=32000)
    job = job_of(arch, seq_len=int(rng.choice([512, 1024])), global_batch=int(rng.choice([4, 8])))
    devices = int(rng.choice([2, 4]))
    stack = load_stack("megatron-core")
    choices = Choices(
        recompute=(Recompute.NONE, Recompute.FULL), sharding=(Sharding.NONE, Sharding.ZERO1, Sharding.FSDP)
    )
    cost = cost_model(job, cluster_of("dgx-a100-pod", devices), stack)
    context = context_of(job, devices, stack.support)
    peaks = cost.estimate(all_candidates(context, choices)).peak_memory_bytes
    margin = 1.0 - float(np.quantile(peaks, 0.7)) / CAPACITY_BYTES
    return cost, context, choices, margin


def by_loop(
    cost: CostModel, context: Context, choices: Choices, margin: float
) -> list[tuple[ParallelLayout, StepEstimate]]:
    """Every layout that fits, costed one at a time; with full recomputation, each number of layers."""
    table = all_candidates(context, choices)
    layers = context.job.architecture.total_layers
    found = []
    for index in range(len(table)):
        layout = table.row(index)
        counts = range(1, -(-layers // layout.pp)) if layout.recompute is Recompute.FULL else ()
        for limit in (None, *counts):
            counted = layout.model_copy(update={"recompute_layers": limit})
            estimate = cost.estimate(LayoutTable.of(counted)).row(0)
            if estimate.peak_memory_bytes <= estimate.memory_capacity_bytes * (1 - margin):
                found.append((counted, estimate))
    return found


def best_of_each(found: list[tuple[ParallelLayout, StepEstimate]]) -> list[float]:
    """Step times in order, of layouts that differ in the number of recomputed layers only the best one's."""
    best: dict[ParallelLayout, float] = {}
    for layout, estimate in found:
        key = layout.model_copy(update={"recompute_layers": None})
        best[key] = min(estimate.step_time_s, best.get(key, np.inf))
    return sorted(best.values())


def search(seed_or_instance: Any, objective: Objective, keep: int = 5) -> SearchResult:
    cost, context, choices, margin = seed_or_instance
    return search_layouts(cost, context, choices, objective=objective, memory_margin=margin, keep=keep)


def number_of_layouts(context: Context, choices: Choices, *, counts_layers: bool) -> int:
    """All legal ones; with full recomputation, each number of layers."""
    table = all_candidates(context, choices)
    full = counts_layers & (table.recompute == list(Recompute).index(Recompute.FULL))
    return int(np.where(full, -(-context.job.architecture.total_layers // table.pp), 1).sum())


def accounted(result: SearchResult) -> int:
    """Layouts that the search has an answer for."""
    return result.feasible + result.rejected[TOO_LARGE] + sum(result.pruned.values())


@pytest.mark.parametrize("seed", range(4))
def test_the_best_layout_is_the_best_of_a_loop_over_all(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(exhaustive_module, "FIRST_ROWS", 20)
    problem = instance(seed)
    everything = by_loop(*problem)
    assert everything
    result = search(problem, "time")
    found = [best.estimate.step_time_s for best in result.best]
    assert found == pytest.approx(best_of_each(everything)[:5], rel=1e-8)
    assert found == pytest.approx(sorted(found), rel=1e-8)
    assert accounted(result) == number_of_layouts(*problem[1:3], counts_layers=True)
    assert result.pruned[NOT_FASTER] > 0
    assert result.best[0].layout in [layout for layout, _ in everything]
    whole = [(layout, estimate) for layout, estimate in everything if layout.recompute_layers is None]
    leanest = search(problem, "memory")
    ordered = sorted(estimate.peak_memory_bytes for _, estimate in whole)
    assert [best.estimate.peak_memory_bytes for best in leanest.best] == pytest.approx(ordered[:5], rel=1e-8)
    assert leanest.feasible + leanest.pruned.get(NOT_SMALLER, 0) == len(whole)
    assert accounted(leanest) == number_of_layouts(*problem[1:3], counts_layers=False)


@pytest.mark.parametrize("seed", range(4))
def test_every_layout_considered_is_feasible_or_rejected_with_a_reason(seed: int) -> None:
    result = search(instance(seed), "time")
    assert result.considered == result.feasible + sum(result.rejected.values())
    assert result.rejected[TOO_LARGE] > 0


def test_when_nothing_fits_the_leanest_layout_is_named() -> None:
    cost, context, choices, _ = instance(0)
    result = search((cost, context, choices, 0.999999), "time")
    peaks = cost.estimate(all_candidates(context, choices)).peak_memory_bytes
    assert result.best == ()
    assert result.smallest is not None
    assert result.smallest.estimate.peak_memory_bytes == pytest.approx(peaks.min())


@pytest.mark.parametrize("objective", ["time", "memory"])
def test_searching_in_small_batches_finds_the_same(monkeypatch: pytest.MonkeyPatch, objective: Objective) -> None:
    problem = instance(1)
    whole = search(problem, objective, keep=20)
    monkeypatch.setattr(candidates_module, "ROWS_PER_TABLE", 1)
    split = search(problem, objective, keep=20)
    assert split.best == whole.best
    assert accounted(split) == accounted(whole)
    assert sum(split.pruned.values()) > sum(whole.pruned.values())


def test_progress_counts_up_to_what_was_considered() -> None:
    cost, context, choices, margin = instance(2)
    heard: list[int] = []
    result = search_layouts(
        cost, context, choices, objective="time", memory_margin=margin, keep=1, progress=heard.append
    )
    assert heard == sorted(heard)
    assert heard[-1] == result.considered


@pytest.mark.parametrize("objective", ["time", "memory"])
def test_the_ranking_does_not_depend_on_the_order_of_rows(objective: Objective) -> None:
    table = legal_layouts("experts")
    estimates = costs("experts").estimate(table)
    best = [table.row(int(row)) for row in ranking(table, estimates, objective, 50)]
    shuffled = table.take(np.random.default_rng(11).permutation(len(table)))
    again = costs("experts").estimate(shuffled)
    assert [shuffled.row(int(row)) for row in ranking(shuffled, again, objective, 50)] == best


def test_a_short_list_is_the_beginning_of_a_long_one() -> None:
    table = legal_layouts("dense")
    estimates = costs("dense").estimate(table)
    long = ranking(table, estimates, "time", 200).tolist()
    for keep in (1, 7, 60):
        assert ranking(table, estimates, "time", keep).tolist() == long[:keep]
