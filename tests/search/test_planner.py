"""Requests in, plans out."""

import re
from pathlib import Path
from typing import Any

import pytest

from glmplan.architecture.catalog import load_architecture
from glmplan.errors import DoesNotFit, InputError, NoData
from glmplan.hardware.calibration import Calibration
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import Offload, ParallelLayout, Recompute, Schedule, Sharding
from glmplan.plan.document import Plan, plan_text
from glmplan.plan.request import PlanRequest
from glmplan.precision import Precision
from glmplan.search.planner import load_problem, make_plan, plan_of_layout
from glmplan.search.single import layout_of_choices
from glmplan.workload.job import TrainingJob
from tests.small_jobs import job_of, model


def request_for(name: str = "llama3-8b", **fields: Any) -> PlanRequest:
    """Llama-3 8B on one DGX A100 node, unless something else is asked for."""
    job = TrainingJob(
        architecture=load_architecture(name),
        seq_len=fields.pop("seq_len", 4096),
        global_batch=fields.pop("global_batch", 16),
        precision=fields.pop("precision", Precision.BF16),
    )
    plain: dict[str, Any] = {"cluster": "dgx-a100-pod", "num_gpus": 8, "stack": "megatron-core"}
    return PlanRequest(job=job, **(plain | fields))


def plan_for(**fields: Any) -> Plan:
    return make_plan(load_problem(request_for(**fields)))


def test_the_same_request_gives_the_same_bytes() -> None:
    assert plan_text(plan_for()) == plan_text(plan_for())


def test_the_list_is_sorted_and_holds_what_was_asked_for() -> None:
    plan = plan_for(top=12)
    times = [option.estimate.step_time_s for option in (plan.chosen, *plan.alternatives)]
    assert len(times) == 12
    assert times == pytest.approx(sorted(times), rel=1e-8)
    layouts = [option.layout for option in (plan.chosen, *plan.alternatives)]
    assert len(set(layouts)) == 12
    assert plan.search.optimal
    assert plan.search.considered == plan.search.feasible + sum(plan.search.rejected.values())


def test_the_leanest_plan_needs_less_memory_and_more_time() -> None:
    fast, lean = plan_for(), plan_for(objective="memory")
    assert lean.chosen.estimate.peak_memory_bytes < fast.chosen.estimate.peak_memory_bytes
    assert lean.chosen.estimate.step_time_s >= fast.chosen.estimate.step_time_s


@pytest.mark.parametrize("margin", [0.0, 0.2, 0.5])
def test_the_margin_stays_free(margin: float) -> None:
    plan = plan_for(memory_margin=margin)
    for option in (plan.chosen, *plan.alternatives):
        assert option.estimate.peak_memory_bytes <= option.estimate.memory_capacity_bytes * (1 - margin)


def test_choices_are_respected() -> None:
    choices = Choices(tp=(2, 4), sharding=(Sharding.ZERO1,), recompute=(Recompute.FULL,), micro_batch=(1,))
    plan = plan_for(choices=choices)
    for option in (plan.chosen, *plan.alternatives):
        assert option.layout.tp in (2, 4)
        assert option.layout.sharding is Sharding.ZERO1
        assert option.layout.recompute is Recompute.FULL
        assert option.layout.micro_batch == 1


def test_a_wider_choice_is_never_slower() -> None:
    narrow = plan_for(choices=Choices(tp=(4,))).chosen.estimate.step_time_s
    wide = plan_for(choices=Choices(tp=(2, 4, 8))).chosen.estimate.step_time_s
    assert plan_for().chosen.estimate.step_time_s <= wide <= narrow


def test_provenance_names_every_profile_and_every_assumption() -> None:
    plan = plan_for()
    assert any("stack megatron-core" in name for name in plan.provenance.profiles)
    assert any("dgx-a100-pod" in name for name in plan.provenance.profiles)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in plan.provenance.profiles.values())
    assert all(assumption.grade and assumption.source for assumption in plan.provenance.assumptions)
    names = {assumption.name for assumption in plan.provenance.assumptions}
    assert {"matmul efficiency", "megatron-core: fixed_step_s"} <= names


def test_one_given_layout_is_costed_as_in_the_search() -> None:
    problem = load_problem(request_for())
    plan = make_plan(problem)
    alone = plan_of_layout(problem, plan.chosen.layout)
    assert alone.chosen.estimate.step_time_s == pytest.approx(plan.chosen.estimate.step_time_s, rel=1e-12)
    assert not alone.search.optimal
    assert alone.search.feasible == 1


def test_a_given_layout_that_is_too_large_is_costed_and_marked() -> None:
    plan = plan_of_layout(load_problem(request_for("llama3-70b")), ParallelLayout(dp=8, grad_accum=2))
    assert plan.chosen.estimate.peak_memory_bytes > plan.cluster.memory_capacity_bytes
    assert plan.search.feasible == 0


def test_a_given_layout_that_breaks_rules_gets_all_reasons() -> None:
    with pytest.raises(InputError) as caught:
        plan_of_layout(load_problem(request_for()), ParallelLayout(tp=3))
    assert len(str(caught.value).splitlines()) >= 2
    assert "layout.tp: 3 does not divide heads 32 and kv_heads 8; use 1, 2, 4, 8, 16 or 32" in str(caught.value)


NOTHING_FITS = [
    {"name": "llama3-70b"},
    {"name": "llama3-70b", "cluster": "dgx-a100-40gb-pod", "global_batch": 1},
    {"choices": Choices(tp=(1,), pp=(1,), cp=(1,), sharding=(Sharding.NONE,))},
    {"memory_margin": 0.9},
    {"name": "gpt3-175b", "seq_len": 2048, "num_gpus": 16, "global_batch": 24, "choices": Choices(cp=(1,))},
]


@pytest.mark.parametrize("fields", NOTHING_FITS)
def test_when_nothing_fits_the_message_says_what_would_and_that_is_true(fields: dict[str, Any]) -> None:
    request = request_for(**dict(fields))
    with pytest.raises(DoesNotFit) as caught:
        make_plan(load_problem(request))
    message = str(caught.value)
    assert re.search(r"needs [\d.]+ GiB per device, [\d.]+ [GM]iB more than the [\d.]+ GiB allowed", message)
    assert re.search(r"most of it [a-z0-9 ]+ \(\d+%\)", message)
    mends = re.split(r", (?=with)| or (?=with)", message.rsplit("; it fits ", 1)[1])
    assert 1 <= len(mends) <= 3
    for mend in mends:
        changed = changed_as_said(request, mend)
        assert changed != request
        plan = make_plan(load_problem(changed))
        assert plan.search.feasible > 0
        named = re.search(r"\((tp.*): ([\d.]+) GiB\)", mend)
        assert named is not None
        assert float(named[2]) * 2**30 <= plan.cluster.memory_capacity_bytes * (1 - changed.memory_margin)


def changed_as_said(request: PlanRequest, mend: str) -> PlanRequest:
    """``request`` changed as the words of one mend say."""
    changes: dict[str, Any] = {}
    if "without the limits on the layout" in mend:
        changes["choices"] = Choices()
    elif found := re.search(r"without --(\S+)", mend):
        changes["choices"] = request.choices.model_copy(update={found[1].replace("-", "_"): None})
    elif found := re.search(r"--offload (\S+)", mend):
        changes["choices"] = request.choices.model_copy(update={"offload": (Offload(found[1]),)})
    for option, field in (("--gpus", "num_gpus"), ("--memory-margin", "memory_margin")):
        if found := re.search(rf"{option} ([\d.]+)", mend):
            changes[field] = float(found[1]) if "." in found[1] else int(found[1])
    job_changes = {
        field: int(found[1])
        for option, field in (("--global-batch", "global_batch"), ("--seq-len", "seq_len"))
        if (found := re.search(rf"{option} (\d+)", mend))
    }
    return request.model_copy(update=changes | {"job": request.job.model_copy(update=job_changes)})


def test_mends_are_of_different_kinds() -> None:
    with pytest.raises(DoesNotFit, match=r"it fits with --offload optimizer \(.*\) or with --gpus \d+ \("):
        plan_for(name="llama3-70b")
    with pytest.raises(
        DoesNotFit, match=r"it fits without --tp \(.*\), with --offload optimizer \(.*\) or with --gpus"
    ):
        plan_for(choices=Choices(tp=(1,), pp=(1,), cp=(1,), sharding=(Sharding.NONE,)))


def test_a_larger_batch_is_part_of_the_mend_where_more_devices_need_it() -> None:
    """One head and no pipeline: devices can only be data-parallel, and each needs a sequence of its own."""
    arch = model(layers=48, hidden=16384, heads=1, kv_heads=1, head_dim=128, ffn_hidden=65536)
    job = job_of(arch, seq_len=2048, global_batch=8)
    request = PlanRequest(job=job, cluster="dgx-a100-pod", num_gpus=8, stack="llm-foundry")
    with pytest.raises(DoesNotFit, match=r"it fits with --gpus (\d+) --global-batch \1 \(") as caught:
        make_plan(load_problem(request))
    (devices,) = re.findall(r"--gpus (\d+)", str(caught.value))
    job = job.model_copy(update={"global_batch": int(devices)})
    assert make_plan(load_problem(request.model_copy(update={"num_gpus": int(devices), "job": job})))


def test_a_request_without_any_legal_layout_counts_the_reasons() -> None:
    with pytest.raises(DoesNotFit, match=r"keeps the rules: micro-batches do not make the global batch \(\d+\)"):
        plan_for(choices=Choices(micro_batch=(3,)))
    with pytest.raises(DoesNotFit, match=r"degrees do not use all devices.*some do without --tp$"):
        plan_for(choices=Choices(tp=(3,)))
    one_head = job_of(model(heads=1, kv_heads=1, head_dim=128), global_batch=6)
    request = PlanRequest(job=one_head, cluster="dgx-a100-pod", num_gpus=8, stack="llm-foundry")
    with pytest.raises(DoesNotFit, match=r"some do with --global-batch 24$"):
        make_plan(load_problem(request))


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"cluster": "dgx-a100-pot"}, InputError, "dgx-a100-pod"),
        ({"stack": "megatron"}, InputError, "stack: no preset 'megatron'"),
        ({"num_gpus": 12}, InputError, "gpus: 12 is not a multiple of the 8 devices"),
        (
            {"name": "t5-base", "stack": "torchtitan", "seq_len": 512},
            InputError,
            "does not train encoder-decoder models",
        ),
        ({"precision": Precision.NVFP4}, NoData, "fp4"),
    ],
)
def test_what_cannot_be_planned_is_named(fields: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        plan_for(**fields)


def calibration(**fields: Any) -> Calibration:
    plain = {
        "name": "fit",
        "stack": "megatron-core",
        "device": "a100-sxm-80gb",
        "constants": {"fixed_step_s": 0.5},
        "made_by": "a test",
        "cases": 3,
    }
    return Calibration.model_validate(plain | fields)


def test_a_calibration_replaces_constants_and_raises_the_grade() -> None:
    plain = load_problem(request_for())
    fitted = load_problem(request_for(), calibration())
    assert fitted.stack["fixed_step_s"] == 0.5
    layout = make_plan(plain).chosen.layout
    estimate = plan_of_layout(fitted, layout).chosen.estimate
    assert estimate.time.other_s == 0.5
    assert estimate.grade == "calibrated"
    other_device = load_problem(request_for(), calibration(device="h100-sxm-80gb"))
    assert plan_of_layout(other_device, layout).chosen.estimate.grade == "transferred"


def test_a_calibration_of_another_stack_is_refused() -> None:
    with pytest.raises(InputError, match="calibration: fit was fitted for stack torchtitan, not megatron-core"):
        load_problem(request_for(), calibration(stack="torchtitan"))


def test_open_dimensions_of_an_estimate_are_plain() -> None:
    job = job_of(model(), global_batch=32)
    plain = PlanRequest(job=job, cluster="dgx-a100-pod", num_gpus=8, stack="megatron-core")
    assert layout_of_choices(plain) == ParallelLayout(dp=8, grad_accum=4)
    chosen = plain.model_copy(
        update={"choices": Choices(pp=(2,), virtual_stages=(2,), sharding=(Sharding.ZERO1,), micro_batch=(4,))}
    )
    expected = ParallelLayout(
        pp=2,
        virtual_stages=2,
        dp=4,
        sharding=Sharding.ZERO1,
        shard_group=4,
        micro_batch=4,
        grad_accum=2,
        schedule=Schedule.INTERLEAVED,
    )
    assert layout_of_choices(chosen) == expected


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (Choices(tp=(1, 2)), "--tp: estimate takes one value; got 2; use plan"),
        (
            Choices(tp=(3,)),
            "layout: tp 3 x cp 1 x pp 1 = 3 does not divide the 8 devices; change one degree or --gpus: 2 or 4 would",
        ),
        (Choices(micro_batch=(3,)), "layout.micro_batch: dp 8 x micro_batch 3 does not divide global_batch 8; use 1"),
    ],
)
def test_an_estimate_needs_one_value_a_dimension(choices: Choices, message: str) -> None:
    request = PlanRequest(job=job_of(), cluster="dgx-a100-pod", num_gpus=8, stack="megatron-core", choices=choices)
    with pytest.raises(InputError, match=re.escape(message)):
        layout_of_choices(request)


def test_a_cluster_of_ones_own_is_planned_for(tmp_path: Path) -> None:
    from glmplan.hardware.catalog import profiles_folder

    path = tmp_path / "mine.yaml"
    path.write_text((profiles_folder() / "clusters" / "dgx-a100-pod.yaml").read_text())
    assert plan_for(cluster=str(path)).chosen == plan_for().chosen
