"""What a plan hangs on."""

from functools import cache

import pytest

from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.search.changed_problem import changed_problem
from glmplan.search.planner import load_problem, make_plan, plan_of_layout
from glmplan.search.sensitivity import CAPACITY, Sensitivity, SensitivityStudy, sensitivity
from glmplan.search.sensitivity_text import sensitivity_rows, sensitivity_sentences, upgrade_rows
from glmplan.search.upgrades import NICS, upgrades
from tests.search.planned_jobs import request_of, small_plan, small_problem

FASTER = ("device.peak_flops", "device.memory_bandwidth", "node.scale_up.bandwidth", "node.scale_out.nic_bandwidth")
SLOWER = ("node.scale_up.latency", "node.scale_out.nic_latency", "stack.host_launch_s")


def quiet(phase: str, fraction: float) -> None:
    """Progress that nobody watches."""


@cache
def study() -> SensitivityStudy:
    return sensitivity(small_problem(), small_plan().chosen.layout, swing_fraction=0.2, replan=False, progress=quiet)


def row(name: str) -> Sensitivity:
    return next(row for row in study().rows if row.name == name)


def test_elasticities_of_all_rates_and_delays_add_up_to_what_the_machine_takes() -> None:
    """Euler's theorem: the machine's share of a step is homogeneous of degree one in its rates and delays."""
    estimate = study().estimate
    total = sum(row(name).throughput_elasticity for name in FASTER)
    total -= sum(row(name).throughput_elasticity for name in SLOWER)
    fixed = estimate.time.other_s / estimate.step_time_s
    assert total == pytest.approx(1.0 - fixed, abs=0.02)


def test_faster_is_never_slower_and_later_never_faster() -> None:
    assert all(row(name).throughput_elasticity >= 0 for name in FASTER)
    assert all(row(name).throughput_elasticity <= 0 for name in SLOWER)


def test_an_elasticity_is_the_change_that_one_per_cent_makes() -> None:
    problem, layout = small_problem(), small_plan().chosen.layout
    faster = changed_problem(problem, factors={"device.peak_flops": 1.001})
    after = plan_of_layout(faster, layout).chosen.estimate.tokens_per_s
    change = (after / study().estimate.tokens_per_s - 1.0) / 0.001
    assert row("device.peak_flops").throughput_elasticity == pytest.approx(change, abs=0.01)


def test_a_token_gets_cheaper_as_it_gets_faster_and_dearer_with_the_price() -> None:
    for each in study().rows:
        assert each.cost_elasticity is not None
        if each.name == "cluster.usd_per_device_hour":
            assert each.throughput_elasticity == 0.0
            assert each.cost_elasticity == pytest.approx(1.0)
        else:
            assert each.cost_elasticity == pytest.approx(-each.throughput_elasticity)


def test_swings_are_estimates_of_the_changed_machine_and_the_strongest_come_first() -> None:
    problem, layout = small_problem(), small_plan().chosen.layout
    for factor, end in (
        (0.8, row("device.peak_flops").low_tokens_per_s),
        (1.2, row("device.peak_flops").high_tokens_per_s),
    ):
        changed = changed_problem(problem, factors={"device.peak_flops": factor})
        assert end == pytest.approx(plan_of_layout(changed, layout).chosen.estimate.tokens_per_s)
    strengths = [round(abs(each.throughput_elasticity), 4) for each in study().rows]
    assert strengths == sorted(strengths, reverse=True)


def test_less_memory_is_planned_anew_and_may_leave_nothing() -> None:
    request = request_of(num_gpus=8, memory_margin=0.0)
    problem = load_problem(request)
    layout = make_plan(problem).chosen.layout
    tight = changed_problem(problem, factors={CAPACITY: 0.03})
    found = sensitivity(tight, layout, swing_fraction=0.9, replan=False, progress=quiet)
    capacity = next(each for each in found.rows if each.name == CAPACITY)
    assert capacity.replanned
    assert capacity.low_tokens_per_s is None
    assert any("nothing fits" in cell for cell in sensitivity_rows(found)[found.rows.index(capacity)])


def test_a_single_node_has_no_network_to_change() -> None:
    problem = load_problem(request_of(num_gpus=8, choices=Choices(tp=(1,), cp=(1,), pp=(1,))))
    layout = ParallelLayout(dp=8, grad_accum=4)
    found = sensitivity(problem, layout, swing_fraction=0.1, replan=False, progress=quiet)
    assert not any(each.name.startswith(("node.scale_out.", "fabric.")) for each in found.rows)
    assert not any(upgrade.name == "twice the network cards" for upgrade in upgrades(problem, progress=quiet)[1])


def test_an_upgrade_is_the_best_plan_of_the_better_machine() -> None:
    problem = small_problem()
    base, found = upgrades(problem, progress=quiet)
    assert base == small_plan().chosen
    by_name = {upgrade.name: upgrade for upgrade in found}
    assert set(by_name) == {"twice the network cards", "25% more device memory", "a scale-up domain of 16 devices"}
    cards = by_name["twice the network cards"]
    best = make_plan(changed_problem(problem, factors={NICS: 2.0})).chosen
    assert cards.option == best
    for upgrade in found:
        assert upgrade.gain_fraction is not None
        assert upgrade.gain_fraction >= -1e-9
        assert upgrade.usd_per_device_hour is not None


def test_an_upgrade_pays_up_to_the_price_at_which_a_token_costs_the_same() -> None:
    problem = small_problem()
    base, found = upgrades(problem, progress=quiet)
    price = problem.cluster.usd_per_device_hour
    assert base is not None
    assert price is not None
    for upgrade in found:
        assert upgrade.option is not None
        assert upgrade.usd_per_device_hour is not None
        cost = upgrade.option.estimate.usd_per_billion_tokens
        assert cost is not None
        dearer = cost * (price.value + upgrade.usd_per_device_hour) / price.value
        assert dearer == pytest.approx(base.estimate.usd_per_billion_tokens)


def test_rows_and_sentences_name_the_strongest_figure_and_every_upgrade() -> None:
    base, found = upgrades(small_problem(), progress=quiet)
    text = " ".join(sensitivity_sentences(study(), base, found))
    assert "device.peak_flops +" in text
    assert len(upgrade_rows(found)) == len(found)
    assert all(upgrade.name.lower() in text.lower() for upgrade in found)
