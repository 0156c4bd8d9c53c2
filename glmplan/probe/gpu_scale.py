"""How much a GPU session does: model, batch, the layouts it plans and trains, and the request that asks for them."""

from dataclasses import dataclass

from glmplan.architecture.catalog import load_architecture
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import Recompute, Sharding
from glmplan.plan.request import PlanRequest
from glmplan.precision import Precision
from glmplan.workload.job import TrainingJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much a session does."""

    model: str
    seq_len: int
    global_batch: int
    micro_batches: tuple[int, ...]
    recomputes: tuple[Recompute, ...]
    stacks: tuple[tuple[str, bool], ...]
    """Software stack, and whether the trainer compiles for it."""
    precision: Precision
    steps: int
    probe_s: float
    most_settings: int


FULL = Scale(
    model="llama-1b",
    seq_len=4096,
    global_batch=8,
    micro_batches=(1, 2, 4, 8),
    recomputes=(Recompute.NONE, Recompute.SELECTIVE, Recompute.FULL),
    stacks=(("glmplan-compiled", True), ("glmplan", False)),
    precision=Precision.BF16,
    steps=24,
    probe_s=75.0,
    most_settings=24,
)
TOY = Scale(
    model="tiny-llama-1m",
    seq_len=64,
    global_batch=4,
    micro_batches=(2, 4),
    recomputes=(Recompute.NONE, Recompute.FULL),
    stacks=(("glmplan", False),),
    precision=Precision.FP32,
    steps=5,
    probe_s=4.0,
    most_settings=2,
)


def plan_request(scale: Scale, cluster: str, stack: str) -> PlanRequest:
    """One device, every micro-batch and recomputation of ``scale``."""
    job = TrainingJob(
        architecture=load_architecture(scale.model),
        seq_len=scale.seq_len,
        global_batch=scale.global_batch,
        precision=scale.precision,
    )
    return PlanRequest(
        job=job,
        cluster=cluster,
        num_gpus=1,
        stack=stack,
        choices=Choices(micro_batch=scale.micro_batches, recompute=scale.recomputes, sharding=(Sharding.NONE,)),
        top=len(scale.micro_batches) * len(scale.recomputes),
    )
