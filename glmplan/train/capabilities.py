"""What the built-in trainer can run, checked before anything is started or written. Needs no torch."""

from glmplan.architecture.transformer import Architecture
from glmplan.errors import InputError
from glmplan.layout.parallel_layout import Offload, ParallelLayout, Sharding
from glmplan.precision import Precision
from glmplan.workload.job import TrainingJob

PRECISIONS = (Precision.FP32, Precision.TF32, Precision.BF16)
_ELSEWHERE = "export the plan to another framework, or plan again with --stack glmplan"


def check_supported(job: TrainingJob, layout: ParallelLayout) -> None:
    """Raises InputError, naming what is supported, when the trainer cannot run ``job`` with ``layout``."""
    _check_architecture(job.architecture)
    if job.precision not in PRECISIONS:
        raise InputError(f"precision: the trainer does not run {job.precision}; use {', '.join(PRECISIONS)}")
    _check_layout(job, layout)
    _check_tensor_parallel(job, layout)


def notes_on(layout: ParallelLayout) -> list[str]:
    """What the trainer does differently from the letter of ``layout``, in sentences."""
    if layout.sharding in (Sharding.ZERO1, Sharding.ZERO2) and layout.dp > 1:
        return [
            f"{layout.sharding}: parameters are split as well (FSDP2) and gathered once per forward pass, "
            "so memory is lower than planned"
        ]
    return []


def _check_architecture(arch: Architecture) -> None:
    unsupported = {
        f"family {arch.family}": arch.family != "decoder",
        "latent attention (mla)": arch.mla is not None,
        "mixture of experts (moe)": arch.moe is not None,
        "relative position biases": arch.relative_position_buckets > 0,
        "segment embeddings (token_types)": arch.token_types > 0,
        "BERT heads": arch.bert_heads,
        "rotary positions with an odd head_dim": not arch.learned_positions and arch.head_dim % 2 == 1,
    }
    found = [name for name, present in unsupported.items() if present]
    if found:
        raise InputError(
            f"model: the trainer does not run {', '.join(found)} ({arch.name}); it runs dense decoders with "
            "multi-head, grouped- or multi-query attention"
        )


def _check_layout(job: TrainingJob, layout: ParallelLayout) -> None:
    for name in ("pp", "cp", "ep"):
        degree = getattr(layout, name)
        if degree > 1:
            raise InputError(
                f"layout.{name}: the trainer does not run {name} {degree}; it runs tensor (tp) and data parallelism "
                f"(dp with none, fsdp, hsdp); {_ELSEWHERE}"
            )
    for name, value in (("recompute_layers", layout.recompute_layers), ("offload", layout.offload)):
        if value not in (None, Offload.NONE):
            raise InputError(f"layout.{name}: the trainer does not do {value}; leave it out, or {_ELSEWHERE}")
    if layout.global_batch != job.global_batch:
        raise InputError(
            f"layout: dp {layout.dp} x micro_batch {layout.micro_batch} x grad_accum {layout.grad_accum} = "
            f"{layout.global_batch} sequences, but job.global_batch is {job.global_batch}"
        )
    if layout.sharding is Sharding.HSDP and layout.dp % layout.shard_group:
        raise InputError(f"layout.shard_group: {layout.shard_group} does not divide dp {layout.dp}")


def _check_tensor_parallel(job: TrainingJob, layout: ParallelLayout) -> None:
    arch, tp = job.architecture, layout.tp
    if tp == 1:
        return
    sizes = {"heads": arch.heads, "kv_heads": arch.kv_heads, "ffn_hidden": arch.ffn_hidden}
    if layout.sequence_parallel:
        sizes["seq_len"] = job.seq_len
    for name, size in sizes.items():
        if size % tp:
            raise InputError(f"layout.tp: {tp} does not divide {name} {size} of {arch.name}; the trainer needs that")
