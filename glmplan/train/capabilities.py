"""What the built-in trainer can run, checked before anything is started or written. Needs no torch."""

from glmplan.architecture.transformer import Architecture
from glmplan.errors import InputError
from glmplan.layout import stage_rules
from glmplan.layout.parallel_layout import LayoutTable, Offload, ParallelLayout, Schedule, Sharding
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
    _check_pipeline(job, layout)
    _check_tensor_parallel(job, layout)


def notes_on(layout: ParallelLayout) -> list[str]:
    """What the trainer does differently from the letter of ``layout``, in sentences."""
    notes = []
    if layout.sharding in (Sharding.ZERO1, Sharding.ZERO2) and layout.dp > 1:
        passes = "step" if layout.pp > 1 else "forward pass"
        notes.append(
            f"{layout.sharding}: parameters are split as well (FSDP2) and gathered once per {passes}, "
            "so memory is lower than planned"
        )
    if layout.pp > layout.grad_accum and layout.schedule in (Schedule.ONE_F_ONE_B, Schedule.ZERO_BUBBLE_H1):
        notes.append(
            f"{layout.schedule}: with fewer micro-batches ({layout.grad_accum}) than stages ({layout.pp}) all forward "
            "passes come first (gpipe)"
        )
    return notes


def _check_architecture(arch: Architecture) -> None:
    unsupported = {
        f"family {arch.family}": arch.family != "decoder",
        "latent attention (mla)": arch.mla is not None,
        "mixture of experts (moe)": arch.moe is not None,
        "relative position biases": arch.relative_position_buckets > 0,
        "segment embeddings (token_types)": arch.token_types > 0,
        "BERT heads": arch.bert_heads,
        "multi-token prediction (mtp_layers)": arch.mtp_layers > 0,
        "windows on some layers only (full_attention_every)": arch.full_attention_every > 0,
        "clamped activations": arch.clamped_activation,
        "rotary positions with an odd head_dim": not arch.learned_positions and arch.head_dim % 2 == 1,
    }
    found = [name for name, present in unsupported.items() if present]
    if found:
        raise InputError(
            f"model: the trainer does not run {', '.join(found)} ({arch.name}); it runs dense decoders with "
            "multi-head, grouped- or multi-query attention"
        )


def _check_layout(job: TrainingJob, layout: ParallelLayout) -> None:
    for name in ("cp", "ep"):
        degree = getattr(layout, name)
        if degree > 1:
            raise InputError(
                f"layout.{name}: the trainer does not run {name} {degree}; it runs tensor (tp), pipeline (pp) and data "
                f"parallelism (dp with none, fsdp, hsdp); {_ELSEWHERE}"
            )
    if layout.offload is not Offload.NONE:
        raise InputError(f"layout.offload: the trainer does not do {layout.offload}; leave it out, or {_ELSEWHERE}")
    if layout.global_batch != job.global_batch:
        raise InputError(
            f"layout: dp {layout.dp} x micro_batch {layout.micro_batch} x grad_accum {layout.grad_accum} = "
            f"{layout.global_batch} sequences, but job.global_batch is {job.global_batch}"
        )
    if layout.sharding is Sharding.HSDP and layout.dp % layout.shard_group:
        raise InputError(f"layout.shard_group: {layout.shard_group} does not divide dp {layout.dp}")


def _check_pipeline(job: TrainingJob, layout: ParallelLayout) -> None:
    layers, table = job.architecture.layers, LayoutTable.of(layout)
    if stage_rules.stages_misfit(table, layers)[0]:
        raise InputError(stage_rules.stages_sentence(layout, layers))
    if stage_rules.recompute_layers_misfit(table, supported=True)[0]:
        raise InputError(stage_rules.recompute_layers_sentence(layout, "the trainer", supported=True))
    chunks = layout.pp * layout.virtual_stages
    if chunks > layers and layout.stage_layers is None:
        raise InputError(f"layout.pp: {chunks} model chunks exceed the {layers} layers; use at most that many")
    if (layout.virtual_stages > 1) != (layout.pp > 1 and layout.schedule is Schedule.INTERLEAVED):
        raise InputError(
            f"layout.virtual_stages: {layout.virtual_stages} with pp {layout.pp} and schedule {layout.schedule}; "
            "several need pp above 1 and schedule interleaved, and that schedule needs several"
        )
    if layout.pp == 1:
        return
    if layout.schedule is Schedule.ZERO_BUBBLE_2P:
        raise InputError("layout.schedule: the trainer does not run zb-2p; use zb-h1, 1f1b, interleaved or gpipe")
    rounds = max(1, layout.grad_accum // layout.pp)
    if layout.schedule in (Schedule.INTERLEAVED, Schedule.ZERO_BUBBLE_H1) and layout.grad_accum % rounds:
        raise InputError(
            f"layout.grad_accum: {layout.grad_accum} micro-batches do not make {rounds} equal rounds, as schedule "
            f"{layout.schedule} needs; use a multiple of pp {layout.pp}, or 1f1b"
        )
    if layout.sharding in (Sharding.ZERO2, Sharding.ZERO3):
        raise InputError(f"layout.sharding: {layout.sharding} does not go with pp {layout.pp}; use zero1, fsdp or hsdp")


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
