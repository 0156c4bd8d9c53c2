"""A plan with a figure changed."""

import re

import pytest

from glmplan.cost.estimate import Grade
from glmplan.errors import DoesNotFit, InputError, NoData
from glmplan.hardware.calibration import Calibration
from glmplan.layout.parallel_layout import LayoutTable
from glmplan.search.changed_problem import changed_problem
from glmplan.search.planner import load_problem, make_plan, plan_of_layout
from glmplan.search.setting_names import setting_values
from glmplan.search.what_if import WhatIf, what_if
from glmplan.search.what_if_text import what_if_rows, what_if_sentences
from tests.search.planned_jobs import request_of, small_plan, small_problem


def asked(*texts: str, replan: bool = False) -> WhatIf:
    return what_if(small_problem(), small_plan().chosen.layout, texts, replan=replan)


def step_ratio(*texts: str) -> float:
    result = asked(*texts)
    assert result.after is not None
    return result.after.estimate.step_time_s / result.before.estimate.step_time_s


def test_a_problem_changed_by_nothing_costs_the_same_to_the_bit() -> None:
    problem, layout = small_problem(), small_plan().chosen.layout
    same = changed_problem(problem, factors={"device.memory_bandwidth": 1.0, "node.scale_up.bandwidth": 1.0})
    assert plan_of_layout(same, layout).chosen.estimate == plan_of_layout(problem, layout).chosen.estimate


FASTER = (
    "device.peak_flops=x2",
    "device.memory_bandwidth=x2",
    "node.scale_up.bandwidth=x2",
    "node.scale_up.latency=x0.5",
    "node.scale_out.nic_bandwidth=x2",
    "node.scale_out.nic_latency=x0.5",
    "device.host_link.bandwidth=x2",
    "stack.host_launch_s=x0.5",
    "stack.fixed_step_s=x0.5",
)


def test_a_machine_twice_as_fast_in_everything_takes_half_the_time() -> None:
    """All that stays is the floor of a kernel and the latency of the switches."""
    assert 0.5 <= step_ratio(*FASTER) < 0.53


@pytest.mark.parametrize("text", FASTER)
def test_no_improvement_makes_a_step_slower(text: str) -> None:
    assert step_ratio(text) <= 1.0 + 1e-12


@pytest.mark.parametrize(
    "text", ["device.peak_flops=-20%", "device.compute_derate=1.2", "cluster.matmul_derate=+20%", "job.seq_len=4096"]
)
def test_a_slower_machine_or_a_larger_job_takes_longer(text: str) -> None:
    assert step_ratio(text) > 1.01


def test_oversubscription_narrows_the_network_like_its_cards() -> None:
    names = ("fabric.leaf.oversubscription=2", "node.scale_out.nic_bandwidth=x0.5")
    assert step_ratio(names[0]) == pytest.approx(step_ratio(names[1]), rel=1e-6)


def test_capacity_and_price_change_no_time() -> None:
    assert step_ratio("device.memory_capacity=40 GiB") == 1.0
    dearer = asked("cluster.usd_per_device_hour=x2")
    assert dearer.after is not None
    before, after = dearer.before.estimate, dearer.after.estimate
    assert after.step_time_s == before.step_time_s
    assert before.usd_per_billion_tokens is not None
    assert after.usd_per_billion_tokens == pytest.approx(2 * before.usd_per_billion_tokens)


def test_other_degrees_cost_what_a_plan_of_them_costs() -> None:
    result = asked("layout.tp=2", "layout.recompute=full")
    assert result.after is not None
    assert (result.after.layout.tp, result.after.layout.dp) == (2, small_plan().chosen.layout.world_size // 2)
    expected = small_problem().model.estimate(LayoutTable.of(result.after.layout)).row(0)
    assert result.after.estimate.step_time_s == pytest.approx(expected.step_time_s, rel=1e-12)


def test_another_size_and_batch_is_the_problem_of_that_size() -> None:
    result = asked("job.gpus=32", "job.global_batch=x2", replan=True)
    other = make_plan(load_problem(request_of(num_gpus=32, global_batch=64)))
    assert result.replanned is not None
    assert result.replanned.layout == other.chosen.layout
    assert result.replanned.estimate.step_time_s == pytest.approx(other.chosen.estimate.step_time_s, rel=1e-12)


def test_planning_anew_is_never_slower_than_the_same_layout() -> None:
    for text in ("node.scale_up.bandwidth=x0.2", "device.memory_bandwidth=x3", "stack.data_parallel_exposed=1"):
        result = asked(text, replan=True)
        assert result.after is not None
        assert result.replanned is not None
        assert result.replanned.estimate.step_time_s <= result.after.estimate.step_time_s * (1 + 1e-9)


def test_a_layout_that_cannot_run_after_the_change_is_said_and_replaced() -> None:
    with pytest.raises(InputError, match="the same layout cannot run after the change, --replan finds one that can"):
        asked("layout.tp=3")
    result = asked("job.gpus=8", "layout.cp=16", replan=True)
    assert result.after is None
    assert "16 does not divide the 8 devices" in result.obstacle
    assert result.replanned is not None
    assert any("cannot run after the change" in sentence for sentence in what_if_sentences(result))
    assert what_if_rows(result)[0] == ["before", "re-planned"]


def test_what_was_calibrated_is_not_after_a_change_of_device_or_stack() -> None:
    fitted = Calibration.model_validate(
        {
            "name": "fit",
            "stack": "megatron-core",
            "device": "h100-sxm-80gb",
            "constants": {},
            "made_by": "a test",
            "cases": 3,
        }
    )
    problem, layout = load_problem(request_of(), fitted), small_plan().chosen.layout
    for text, grade in (
        ("device.memory_bandwidth=+1%", Grade.TRANSFERRED),
        ("stack.fixed_step_s=5 ms", Grade.TRANSFERRED),
        ("job.global_batch=x2", Grade.CALIBRATED),
    ):
        result = what_if(problem, layout, [text], replan=False)
        assert result.before.estimate.grade is Grade.CALIBRATED
        assert result.after is not None
        assert result.after.estimate.grade is grade


def test_the_assumptions_behind_a_change_are_told() -> None:
    sentences = " ".join(what_if_sentences(asked("device.memory_bandwidth=+20%", "node.scale_up.bandwidth=x2")))
    assert "Assumed for device.memory_bandwidth: measured matmul and attention tables keep their residual" in sentences
    assert "Assumed for node.scale_up.bandwidth: in measured collective curves" in sentences


def test_every_listed_name_is_known() -> None:
    layout = small_plan().chosen.layout
    names = [value.name for value in setting_values(small_problem(), layout)]
    assert len(names) == len(set(names))
    for name in names:
        with pytest.raises(InputError) as caught:
            asked(f"{name}=?")
        assert "no figure" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("device.memory_bandwith=+20%", "no figure 'device.memory_bandwith'; did you mean device.memory_bandwidth"),
        ("nonsense=1", "no figure 'nonsense'; the names are device.peak_flops"),
        ("layout.dp=4", "layout.dp follows from the devices and the other degrees; set job.gpus"),
        ("layout.sharding=fsdpp", "layout.sharding: input should be 'none', 'zero1'"),
        ("layout.tp=x1.5", "layout.tp: must be a whole number; 'x1.5' gives 1.5"),
        ("layout.sharding=+20%", "layout.sharding: zero"),
        ("job.precision=fp7", "job.precision: input should be 'fp32'"),
        ("job.tokens=many", "job.tokens: expected a number such as 300B or 15T; got 'many'"),
        ("job.gpus=33", "gpus: 33 is not a multiple of the 8 devices of a node"),
        ("node.scale_up_domain=12", "node.scale_up_domain: 12 is no multiple of the 8 devices of a node"),
        ("node.scale_up_domain=24", "fabric: leaf joins 32 nodes, no multiple of the 3 nodes"),
        ("stack.tensor_parallel_exposed=1.3", "is a share and must not exceed 1"),
        ("stack.kernels.dropout=maybe", "stack.kernels.dropout: input should be a valid boolean"),
    ],
)
def test_bad_settings_name_the_place_and_the_mend(text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        asked(text)
    assert len(str(caught.value).splitlines()) == 1


def test_nothing_that_fits_and_nothing_known_are_told_apart() -> None:
    leanest = make_plan(load_problem(request_of(objective="memory"))).chosen.estimate.peak_memory_bytes
    with pytest.raises(DoesNotFit, match=r"nothing fits.* it fits"):
        asked(f"device.memory_capacity={1.02 * leanest:.0f} B", replan=True)
    with pytest.raises(NoData, match="no peak is known for nvfp4"):
        asked("job.precision=nvfp4")
