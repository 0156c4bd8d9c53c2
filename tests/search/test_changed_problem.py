"""Machines on paper, whatever their wiring and wherever their tables come from."""

from functools import cache

import pytest

from glmplan.hardware.catalog import cluster_of, load_cluster, load_cluster_profile, load_device, load_node
from glmplan.hardware.measurements import CollectiveColumns, CopyColumns, MatmulColumns, Measurements
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout
from glmplan.search.changed_problem import changed_problem
from glmplan.search.figures import cluster_figures
from glmplan.search.planner import Problem, best_option, load_problem
from tests.search.planned_jobs import request_of

DELAYS = ("latency", "derate", "oversubscription", "usd_per")
"""Parts of the names of figures of which less is better."""


def step_s(problem: Problem, layout: ParallelLayout, factors: dict[str, float]) -> float:
    """Seconds of ``layout`` on the machine with ``factors``."""
    estimates = changed_problem(problem, factors=factors).model.estimate(LayoutTable.of(layout))
    return float(estimates.step_time_s[0])


def best_layout(problem: Problem) -> ParallelLayout:
    best = best_option(problem)
    assert best is not None
    return best.layout


@pytest.mark.parametrize("name", ["mi300x-cluster", "imbue-h100", "l40s-cluster", "fireflyer2"])
def test_a_better_figure_is_never_slower_and_a_worse_one_never_faster(name: str) -> None:
    """Mesh, hand-made tree, host links only, shared cards."""
    per_node = load_cluster(name).node.devices.value
    choices = Choices(tp=(1, 2), pp=(1,), cp=(1,))
    problem = load_problem(request_of(cluster=name, num_gpus=2 * per_node, choices=choices))
    layout = best_layout(problem)
    base_s = step_s(problem, layout, {})
    for figure, known in cluster_figures(problem.cluster, problem.request.job.precision).items():
        if known.whole:
            continue
        better = 0.8 if any(part in figure for part in DELAYS) else 1.25
        assert step_s(problem, layout, {figure: better}) <= base_s * (1 + 1e-9), figure
        assert step_s(problem, layout, {figure: 1 / better}) >= base_s * (1 - 1e-9), figure


@cache
def measured_machine() -> Problem:
    """Two nodes of a device that is in no catalogue, measured by its own probe."""
    sizes = tuple(float(2**power) for power in range(12, 31, 2))
    measurements = Measurements(
        memory_copy=CopyColumns(bytes=sizes, seconds=tuple(size / 1.4e12 + 2e-6 for size in sizes)),
        collectives=CollectiveColumns(
            op=tuple("all_reduce" for _ in sizes),
            ranks=(8,) * len(sizes),
            bytes=sizes,
            seconds=tuple(size / 4e11 + 1e-5 for size in sizes),
        ),
        matmul=MatmulColumns(
            dtype=("bf16",) * 3,
            m=(512, 2048, 8192),
            n=(512, 2048, 8192),
            k=(512, 2048, 8192),
            seconds=(1e-5, 4e-5, 2e-3),
        ),
        host_launch_s=5e-6,
    )
    device = load_device("h100-sxm-80gb").model_copy(update={"name": "mine", "efficiency_like": None})
    node = load_node("dgx-h100").model_copy(update={"device": "mine"})
    profile = load_cluster_profile("dgx-h100-pod").model_copy(
        update={"measurements": measurements, "device": device, "node": node}
    )
    return load_problem(request_of(), cluster=cluster_of(profile))


def test_a_machines_own_tables_move_with_its_figures() -> None:
    problem = measured_machine()
    layout = best_layout(problem)
    base_s = step_s(problem, layout, {})
    assert step_s(problem, layout, {"device.memory_bandwidth": 2.0}) < 0.97 * base_s
    assert step_s(problem, layout, {"device.peak_flops": 2.0}) < 0.9 * base_s


def test_the_measured_launch_cost_is_what_a_factor_multiplies() -> None:
    changed = changed_problem(measured_machine(), launch_factor=3.0)
    assert changed.model.launch_s == pytest.approx(15e-6)
