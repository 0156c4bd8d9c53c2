"""What a plan writes for a framework is what the framework's file is read as."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.errors import InputError
from glmplan.frameworks.catalog import FRAMEWORKS
from glmplan.frameworks.completion import Additions, layout_of, request_of
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import ContextKind, Offload, ParallelLayout, Recompute, Schedule, Sharding
from glmplan.plan.document import Plan
from glmplan.plan.request import PlanRequest
from glmplan.precision import Precision
from glmplan.search.planner import load_problem, make_plan
from tests.small_jobs import job_of, model


@cache
def small_plan(kind: str, precision: Precision) -> Plan:
    job = job_of(model(kind), tokens=None).model_copy(update={"precision": precision})
    request = PlanRequest(
        job=job, cluster="dgx-h100-pod", num_gpus=2, stack="megatron-core", choices=Choices(micro_batch=(1,)), top=1
    )
    return make_plan(load_problem(request))


@st.composite
def layouts(draw: st.DrawFn) -> ParallelLayout:
    """Layouts whose parts agree with each other; whether a model can be cut like that does not matter here."""
    tp, pp, cp, dp = (draw(st.sampled_from([1, 2, 4])) for _ in range(4))
    virtual = draw(st.sampled_from([1, 2])) if pp > 1 else 1
    data = dp * cp
    kinds = [Sharding.NONE] if data == 1 else list(Sharding)
    sharding = draw(st.sampled_from(kinds))
    if sharding is Sharding.HSDP and data < 4:
        sharding = Sharding.FSDP
    group = 1 if sharding is Sharding.NONE else data // 2 if sharding is Sharding.HSDP else data
    return ParallelLayout(
        tp=tp,
        pp=pp,
        cp=cp,
        context=ContextKind.RING,
        dp=dp,
        virtual_stages=virtual,
        schedule=Schedule.INTERLEAVED if virtual > 1 else Schedule.ONE_F_ONE_B,
        sharding=sharding,
        shard_group=group,
        micro_batch=draw(st.integers(1, 4)),
        grad_accum=4 * draw(st.integers(1, 3)),
        recompute=draw(st.sampled_from(list(Recompute))),
        sequence_parallel=tp > 1 and draw(st.booleans()),
    )


def planned(layout: ParallelLayout, kind: str, precision: Precision) -> Plan:
    plan = small_plan(kind, precision)
    job = plan.request.job.model_copy(update={"global_batch": layout.global_batch})
    request = plan.request.model_copy(update={"job": job, "num_gpus": layout.world_size})
    cluster = plan.cluster.model_copy(update={"num_nodes": 1})
    chosen = plan.chosen.model_copy(update={"layout": layout})
    return plan.model_copy(update={"request": request, "chosen": chosen, "cluster": cluster})


def read_back(plan: Plan, framework: str, **additions: object) -> tuple[PlanRequest, ParallelLayout]:
    configuration = FRAMEWORKS[framework].read(FRAMEWORKS[framework].write(plan), "written")
    given_ = {"cluster": "dgx-h100-pod", "num_gpus": plan.request.num_gpus} | additions
    request = request_of(configuration, Additions(**given_))  # type: ignore[arg-type]
    return request, layout_of(configuration, request)


@settings(max_examples=80)
@given(layout=layouts(), framework=st.sampled_from(["megatron", "nemo"]), kind=st.sampled_from(["dense", "experts"]))
def test_megatron_and_nemo_read_back_layout_model_and_job(layout: ParallelLayout, framework: str, kind: str) -> None:
    plan = planned(layout, kind, Precision.BF16)
    request, again = read_back(plan, framework)
    same = layout.sharding
    if same is Sharding.ZERO3:  # Megatron's FSDP is the layer-by-layer form of ZeRO-3
        layout = layout.model_copy(update={"sharding": Sharding.FSDP})
    assert again == layout
    written, read = plan.request.job, request.job
    assert (read.seq_len, read.global_batch, read.precision) == (
        written.seq_len,
        written.global_batch,
        written.precision,
    )
    for name in ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn_hidden", "vocab", "gated_mlp", "norm"):
        assert getattr(read.architecture, name) == getattr(written.architecture, name), name
    assert (read.architecture.moe is None) == (written.architecture.moe is None)


@pytest.mark.parametrize("framework", ["megatron", "nemo"])
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16, Precision.FP8, Precision.MXFP8])
def test_number_formats_come_back(framework: str, precision: Precision) -> None:
    layout = ParallelLayout(dp=2, sharding=Sharding.ZERO1, shard_group=2, grad_accum=4)
    plan = planned(layout, "dense", Precision.BF16)
    job = plan.request.job.model_copy(update={"precision": precision})
    request, _ = read_back(plan.model_copy(update={"request": plan.request.model_copy(update={"job": job})}), framework)
    assert request.job.precision is precision


@settings(max_examples=80)
@given(layout=layouts())
def test_torchtitan_reads_back_what_it_can_run_and_refuses_the_rest(layout: ParallelLayout) -> None:
    plan = planned(layout, "dense", Precision.BF16)
    try:
        request, again = read_back(plan, "torchtitan", model="tiny-llama-1m", stack="torchtitan")
    except InputError as error:
        assert str(error).startswith("export: layout.")
        assert (
            layout.sharding is Sharding.ZERO1
            or (layout.sharding is Sharding.NONE and layout.dp * layout.cp > 1)
            or (layout.tp > 1 and not layout.sequence_parallel)
        )
        return
    assert request.job.global_batch == layout.global_batch
    expected = layout
    if layout.sharding is Sharding.ZERO3:
        expected = layout.model_copy(update={"sharding": Sharding.FSDP})
    assert again == expected


@settings(max_examples=40)
@given(layout=layouts())
def test_deepspeed_reads_back_batch_and_stage(layout: ParallelLayout) -> None:
    plan = planned(layout, "dense", Precision.BF16)
    try:
        _, again = read_back(plan, "deepspeed", model="tiny-llama-1m", seq_len=64)
    except InputError as error:
        assert "cannot be said to DeepSpeed" in str(error)
        assert layout.pp > 1 or layout.cp > 1 or layout.sharding is Sharding.HSDP
        return
    assert (again.tp, again.micro_batch, again.grad_accum) == (layout.tp, layout.micro_batch, layout.grad_accum)
    assert again.sharding == (Sharding.ZERO3 if layout.sharding is Sharding.FSDP else layout.sharding)


@pytest.mark.parametrize("framework", list(FRAMEWORKS))
def test_writing_twice_gives_the_same_bytes(framework: str) -> None:
    layout = ParallelLayout(dp=2, sharding=Sharding.ZERO2, shard_group=2, grad_accum=4)
    plan = planned(layout, "dense", Precision.BF16)
    assert FRAMEWORKS[framework].write(plan) == FRAMEWORKS[framework].write(plan)


@pytest.mark.parametrize("name", ["$(touch evil)", "`id`", "a\nrm -rf b", '"; id; "', "'quoted'"])
def test_hostile_names_stay_inside_comments_and_strings(name: str) -> None:
    layout = ParallelLayout(dp=2, sharding=Sharding.ZERO2, shard_group=2, grad_accum=4)
    plan = planned(layout, "dense", Precision.BF16)
    arch = plan.request.job.architecture.model_copy(update={"name": name})
    job = plan.request.job.model_copy(update={"architecture": arch})
    hostile = plan.model_copy(update={"request": plan.request.model_copy(update={"job": job})})
    script = FRAMEWORKS["megatron"].write(hostile)
    assert all("evil" not in line and "rm -rf" not in line for line in script.splitlines() if not line.startswith("#"))
    for framework in ("torchtitan", "nemo"):
        assert FRAMEWORKS[framework].read(FRAMEWORKS[framework].write(hostile), "written").job["seq_len"]


def test_uneven_stages_first_layers_and_offload_come_back() -> None:
    layout = ParallelLayout(
        pp=4, dp=1, grad_accum=8, stage_layers=(1, 1, 1, 1), recompute=Recompute.FULL, recompute_layers=1
    )
    plan = planned(layout, "dense", Precision.BF16)
    for framework in ("megatron", "nemo"):
        assert read_back(plan, framework)[1] == layout
    titan = layout.model_copy(update={"recompute": Recompute.NONE, "recompute_layers": None})
    plan = planned(titan, "dense", Precision.BF16)
    assert read_back(plan, "torchtitan", model="tiny-llama-1m", stack="torchtitan")[1] == titan
    offloaded = ParallelLayout(dp=2, sharding=Sharding.ZERO2, shard_group=2, grad_accum=4, offload=Offload.OPTIMIZER)
    plan = planned(offloaded, "dense", Precision.BF16)
    for framework in ("megatron", "nemo", "deepspeed"):
        assert read_back(plan, framework, model="tiny-llama-1m", seq_len=64)[1] == offloaded


@pytest.mark.parametrize("kind", list(ContextKind))
def test_kinds_of_context_parallelism_come_back_or_are_refused(kind: ContextKind) -> None:
    layout = ParallelLayout(cp=2, context=kind, sharding=Sharding.FSDP, shard_group=2, grad_accum=4)
    plan = planned(layout, "dense", Precision.BF16)
    able = {"megatron": kind is not ContextKind.GATHERED_BLOCKS, "torchtitan": kind in ("ring", "gathered-blocks")}
    for framework, runs in able.items():
        if runs:
            assert read_back(plan, framework, model="tiny-llama-1m")[1].context is kind
        else:
            with pytest.raises(InputError, match=r"layout\.context"):
                FRAMEWORKS[framework].write(plan)


def test_stages_that_megatron_cannot_say_are_refused() -> None:
    layout = ParallelLayout(pp=4, grad_accum=8, stage_layers=(2, 0, 1, 1))
    with pytest.raises(InputError, match="only the first and the last stage may differ"):
        FRAMEWORKS["megatron"].write(planned(layout, "dense", Precision.BF16))
