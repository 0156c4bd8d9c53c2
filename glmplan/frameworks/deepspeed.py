"""DeepSpeed: ``ds_config.json``. Names as in DeepSpeed's configuration reference.

It says batch, precision and ZeRO; recomputation and pipelines are decided in the training script, not in it.
"""

from collections.abc import Iterator, Mapping

from glmplan.documents import json_text, parse_json
from glmplan.frameworks.configuration import Configuration, OptionReader, Value, refuse
from glmplan.layout.parallel_layout import Offload, Sharding
from glmplan.plan.document import Plan
from glmplan.precision import Precision

STAGES = {Sharding.NONE: 0, Sharding.ZERO1: 1, Sharding.ZERO2: 2, Sharding.ZERO3: 3}


def write(plan: Plan) -> str:
    """The plan as a DeepSpeed configuration. Raises InputError for what it cannot say."""
    job, layout = plan.request.job, plan.chosen.layout
    for name, able in (("pp", "megatron"), ("cp", "megatron"), ("ep", "megatron")):
        if getattr(layout, name) > 1:
            raise refuse("DeepSpeed", name, getattr(layout, name), f"use --{name} 1, or export --to {able}")
    sharding = Sharding.ZERO3 if layout.sharding is Sharding.FSDP else layout.sharding
    if sharding not in STAGES:
        raise refuse("DeepSpeed", "sharding", layout.sharding, "use --shard none, zero1, zero2 or zero3")
    if job.precision not in (Precision.BF16, Precision.FP16, Precision.FP32):
        raise refuse("DeepSpeed", "precision", job.precision, "use fp32, bf16 or fp16")
    if "activations" in layout.offload:
        raise refuse("DeepSpeed", "offload", layout.offload, "use --offload none or optimizer")
    zero: dict[str, object] = {"stage": STAGES[sharding], "overlap_comm": True, "contiguous_gradients": True}
    if layout.offload is Offload.OPTIMIZER:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    config: dict[str, object] = {
        "train_batch_size": layout.global_batch,
        "train_micro_batch_size_per_gpu": layout.micro_batch,
        "gradient_accumulation_steps": layout.grad_accum,
        "bf16": {"enabled": job.precision is Precision.BF16},
        "fp16": {"enabled": job.precision is Precision.FP16},
        "zero_optimization": zero,
        "optimizer": {"type": "SGD" if job.optimizer == "sgd" else "AdamW", "params": {}},
    }
    if layout.tp > 1:
        config["tensor_parallel"] = {"autotp_size": layout.tp}
    return json_text(config)


def read(text: str, file: str) -> Configuration:
    """The configuration in a JSON file. Raises DocumentError or InputError."""
    reader = OptionReader(dict(_leaves(parse_json(text, file).data)), file)
    stage = reader.take("zero_optimization.stage")
    sharding = next((kind for kind, number in STAGES.items() if str(number) == str(stage or 0)), Sharding.NONE)
    layout: dict[str, Value] = {"sharding": str(sharding)}
    layout |= reader.fields(
        {
            "train_micro_batch_size_per_gpu": "micro_batch",
            "gradient_accumulation_steps": "grad_accum",
            "tensor_parallel.autotp_size": "tp",
        }
    )
    if (shard := reader.number("zero_optimization.mics_shard_size")) is not None:
        layout |= {"sharding": str(Sharding.HSDP), "shard_group": shard}
    devices = {"optimizer": reader.take("zero_optimization.offload_optimizer.device")}
    devices["parameters"] = reader.take("zero_optimization.offload_param.device")
    offloaded = sorted(name for name, device in devices.items() if device in ("cpu", "nvme"))
    if offloaded:
        layout["offload"] = "+".join(offloaded)
    half, brain = reader.on("fp16.enabled"), reader.on("bf16.enabled")
    job = reader.fields({"train_batch_size": "global_batch"})
    job["precision"] = str(Precision.FP16 if half else Precision.BF16 if brain else Precision.FP32)
    job["optimizer"] = "sgd" if str(reader.take("optimizer.type") or "").lower() == "sgd" else "adamw"
    return Configuration(
        framework="deepspeed", file=file, job=job, layout=layout, stack="deepspeed", unread=reader.unread()
    )


def _leaves(data: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, Value]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float | str) and value != "auto":
            yield f"{prefix}{key}", value
