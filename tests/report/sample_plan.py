"""A plan and runs of it as the planner and the trainer would write them, with invented but consistent numbers."""

import json
from pathlib import Path
from typing import Any

from glmplan.architecture.transformer import Architecture
from glmplan.cost.estimate import Grade, MemoryBreakdown, StepEstimate, TimeBreakdown
from glmplan.layout.parallel_layout import ParallelLayout, Recompute, Schedule, Sharding
from glmplan.plan.document import Assumption, ClusterSummary, Option, Plan, Provenance, SearchSummary
from glmplan.plan.measurement import MeasuredValues, Measurement, write_measurement
from glmplan.plan.request import PlanRequest
from glmplan.units import BYTES, FLOPS_PER_S, parse_quantity
from glmplan.workload.job import TrainingJob

GIB = parse_quantity("1 GiB", BYTES)
CAPACITY_BYTES = parse_quantity("80 GiB", BYTES)
HOSTILE = "</script><img src=x onerror=alert(1)><b>$\u2028 evil"


def sample_architecture(name: str = "gpt3-175b") -> Architecture:
    """GPT-3 175B (Brown 2020, arXiv:2005.14165, table 2.1)."""
    return Architecture(
        name=name,
        layers=96,
        hidden=12288,
        heads=96,
        kv_heads=96,
        head_dim=128,
        ffn_hidden=49152,
        gated_mlp=False,
        vocab=51200,
        learned_positions=2048,
        norm="layer",
        source="preset gpt3-175b (arXiv:2005.14165, table 2.1)",
    )


def sample_option(layout: ParallelLayout, *, slowdown: float = 1.0, activations_gib: float = 18.5) -> Option:
    """An option whose parts sum to its wholes."""
    time = TimeBreakdown(
        forward_s=2.1 * slowdown,
        backward_s=4.3 * slowdown,
        recompute_s=0.35,
        tensor_parallel_s=0.9,
        context_parallel_s=0.0,
        expert_parallel_s=0.0,
        pipeline_transfer_s=0.06,
        pipeline_bubble_s=0.7 * slowdown,
        data_parallel_s=0.22,
        optimizer_s=0.05,
        other_s=0.04,
    )
    memory = MemoryBreakdown(
        parameters_bytes=5.1 * GIB,
        main_parameters_bytes=1.3 * GIB,
        gradients_bytes=10.2 * GIB,
        optimizer_bytes=2.6 * GIB,
        gathered_parameters_bytes=0.0,
        activations_bytes=activations_gib * GIB,
        loss_bytes=1.2 * GIB,
        workspace_bytes=2.4 * GIB,
        reserve_bytes=3.0 * GIB,
    )
    step_s = sum(time.model_dump().values())
    tokens_per_s = 2048 * 1536 / step_s
    return Option(
        layout=layout,
        estimate=StepEstimate(
            step_time_s=step_s,
            step_time_low90_s=step_s * 0.92,
            step_time_high90_s=step_s * 1.09,
            tokens_per_s=tokens_per_s,
            tokens_per_s_per_gpu=tokens_per_s / layout.world_size,
            mfu=0.46 / slowdown,
            hfu=0.48 / slowdown,
            model_flops=3.5e18,
            peak_memory_bytes=sum(memory.model_dump().values()),
            peak_memory_low90_bytes=sum(memory.model_dump().values()) * 0.96,
            peak_memory_high90_bytes=sum(memory.model_dump().values()) * 1.12,
            memory_capacity_bytes=CAPACITY_BYTES,
            memory=memory,
            time=time,
            grade=Grade.TRANSFERRED,
            usd_per_hour=2560.0,
            usd_per_billion_tokens=1840.0,
            usd_per_billion_tokens_low90=1840.0 * 0.92,
            usd_per_billion_tokens_high90=1840.0 * 1.09,
            train_days=9.7,
            train_low90_days=9.7 * 0.92,
            train_high90_days=9.7 * 1.09,
        ),
    )


def sample_plan(name: str = "gpt3-175b", *, cluster: str = "selene_a100_1024", device: str = "a100_sxm_80gb") -> Plan:
    """1,024 A100 in the layout family of Korthikanti 2022, arXiv:2205.05198, table 3."""
    layouts = [
        ParallelLayout(
            tp=8,
            pp=pp,
            virtual_stages=virtual,
            dp=1024 // 8 // pp,
            sharding=sharding,
            shard_group=1024 // 8 // pp if sharding is not Sharding.NONE else 1,
            micro_batch=1,
            grad_accum=1536 // (1024 // 8 // pp),
            recompute=recompute,
            schedule=Schedule.INTERLEAVED if virtual > 1 else Schedule.ONE_F_ONE_B,
            sequence_parallel=True,
        )
        for pp, virtual, sharding, recompute in (
            (16, 3, Sharding.ZERO1, Recompute.SELECTIVE),
            (16, 2, Sharding.ZERO1, Recompute.SELECTIVE),
            (8, 6, Sharding.ZERO1, Recompute.SELECTIVE),
            (8, 2, Sharding.ZERO1, Recompute.FULL),
            (32, 1, Sharding.NONE, Recompute.NONE),
        )
    ]
    activations = (18.5, 17.2, 33.0, 9.1, 21.0)
    options = [
        sample_option(layout, slowdown=1 + 0.03 * index, activations_gib=kept)
        for index, (layout, kept) in enumerate(zip(layouts, activations, strict=True))
    ]
    job = TrainingJob(architecture=sample_architecture(name), seq_len=2048, global_batch=1536, tokens=300e9)
    return Plan(
        request=PlanRequest(job=job, cluster=cluster, num_gpus=1024, stack="megatron-2022"),
        cluster=ClusterSummary(
            name=cluster,
            device=device,
            device_kind="cuda",
            devices_per_node=8,
            num_nodes=128,
            memory_capacity_bytes=CAPACITY_BYTES,
            peak_flops_per_s=parse_quantity("312 TFLOP/s", FLOPS_PER_S),
        ),
        search=SearchSummary(
            considered=41203,
            feasible=2217,
            rejected={"memory: more than the device has": 30211, f"heads: tp does not divide ({name})": 8775},
            optimal=True,
            gap=0.0,
        ),
        chosen=options[0],
        alternatives=tuple(options[1:]),
        explanation=(
            f"{name}: tensor parallelism stays inside a node, because its collectives cannot be hidden.",
            "Sixteen pipeline stages are the fewest that leave room for selective recomputation.",
        ),
        provenance=Provenance(
            glmplan_version="0.1.0",
            profiles={"devices/a100_sxm_80gb": "ab" * 32, "clusters/selene_a100_1024": "cd" * 32},
            seed=0,
            assumptions=(
                Assumption(
                    name=f"Price of a device ({device})", value="2.50 USD/h", grade="assumed", source="list price"
                ),
                Assumption(
                    name="Matmul efficiency", value="surface of 11,172 shapes", grade="measured", source="gemm_a100.csv"
                ),
            ),
        ),
    )


def sample_measurement(plan: Plan, option: Option, **measured: float) -> Measurement:
    """What the trainer writes at the end of a run of ``option``."""
    job = plan.request.job
    layout: dict[str, Any] = option.layout.model_dump(mode="json") | {"precision": str(job.precision), "compile": False}
    return Measurement(
        id="run-1",
        source={"title": "own run", "where": "here", "ref": "", "year": 2026, "how": "glmplan train"},
        software=plan.request.stack,
        model=job.architecture.model_dump(mode="json"),
        seq_len=job.seq_len,
        hardware={"gpu": plan.cluster.device, "gpus": option.layout.world_size, "gpus_per_node": 8},
        layout=layout,
        measured=MeasuredValues(**measured),
    )


def write_run(folder: Path, measurement: Measurement | None, *, steps: int = 50, offset: float = 0.0) -> Path:
    """A run's folder with a loss that falls as a power of the step."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps(
            {
                "step": step,
                "loss": 10.8 / step**0.25 + offset,
                "step_time_s": 8.5 + 0.1 * (step % 3),
                "tokens_per_s": 3.7e5,
                "lr": 3e-4,
            }
        )
        for step in range(1, steps + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if measurement is not None:
        write_measurement(measurement, folder / "measurement.json")
    return folder
