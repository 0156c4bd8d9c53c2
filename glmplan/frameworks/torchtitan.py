"""torchtitan: a TOML file with the sections of its ``JobConfig`` (``torchtitan/config/job_config.py``, 2025)."""

import tomllib
from collections.abc import Iterator, Mapping

from glmplan.errors import InputError
from glmplan.frameworks.configuration import Configuration, OptionReader, Value, refuse
from glmplan.frameworks.provenance import header
from glmplan.layout.parallel_layout import ContextKind, Offload, ParallelLayout, Recompute, Schedule, Sharding
from glmplan.plan.document import Plan
from glmplan.precision import Precision

SCHEDULES = {Schedule.ONE_F_ONE_B: "1F1B", Schedule.GPIPE: "GPipe", Schedule.INTERLEAVED: "Interleaved1F1B"}
ROTATIONS = {ContextKind.GATHERED_BLOCKS: "allgather", ContextKind.RING: "alltoall"}
"""How keys and values travel -> ``context_parallel_rotate_method``."""
FLAVORS = {
    "llama3-8b": ("llama3", "8B"),
    "llama3-70b": ("llama3", "70B"),
    "llama3-405b": ("llama3", "405B"),
    "deepseek-v3": ("deepseek_v3", "671B"),
    "qwen3-0.6b": ("qwen3", "0.6B"),
    "qwen3-1.7b": ("qwen3", "1.7B"),
}
"""Preset -> torchtitan's model and flavor."""
DEGREES = {
    "parallelism.tensor_parallel_degree": "tp",
    "parallelism.pipeline_parallel_degree": "pp",
    "parallelism.context_parallel_degree": "cp",
    "parallelism.expert_parallel_degree": "ep",
}
FLOAT8 = "quantize.linear.float8"
MXFP8 = "quantize.linear.mx"

Section = dict[str, Value | list[str] | list[list[str]]]


def write(plan: Plan) -> str:
    """The plan as a job configuration. Raises InputError for what torchtitan cannot run."""
    job, layout = plan.request.job, plan.chosen.layout
    _refuse_unsupported(layout)
    name, flavor = FLAVORS.get(job.architecture.name, ("llama3", job.architecture.name))
    converters = {Precision.FP8: [FLOAT8], Precision.MXFP8: [MXFP8]}.get(job.precision, [])
    if job.precision not in (Precision.BF16, Precision.FP32, Precision.FP8, Precision.MXFP8):
        raise refuse("torchtitan", "precision", job.precision, "use fp32, bf16, fp8 or mxfp8")
    sections: dict[str, Section] = {
        "model": {"name": name, "flavor": flavor, "converters": list(converters)},
        "optimizer": {"name": "AdamW" if job.optimizer != "sgd" else "SGD"},
        "training": _training(layout, job.seq_len, job.precision),
        "parallelism": _parallelism(layout),
        "activation_checkpoint": _recompute(layout),
        "compile": {"enable": plan.request.stack != "torchtitan-eager"},
    }
    note = [] if job.architecture.name in FLAVORS else [f"flavor {flavor!r}: register it with the model's shape."]
    lines = [f"# {line}" for line in [*header(plan), *note]]
    for section, fields in sections.items():
        lines += ["", f"[{section}]", *(f"{key} = {_toml(value)}" for key, value in fields.items())]
    return "\n".join([*lines, ""])


def _refuse_unsupported(layout: ParallelLayout) -> None:
    if layout.sharding is Sharding.ZERO1:
        raise refuse("torchtitan", "sharding", layout.sharding, "use --shard fsdp, hsdp, zero2 or none")
    if layout.sharding is Sharding.NONE and layout.dp > 1 and layout.tp * layout.pp * layout.cp > 1:
        raise refuse("torchtitan", "sharding", "none with other parallelism", "use --shard fsdp or hsdp")
    if layout.pp > 1 and layout.schedule not in SCHEDULES:
        raise refuse("torchtitan", "schedule", layout.schedule, "use --schedule 1f1b,interleaved,gpipe")
    if layout.tp > 1 and not layout.sequence_parallel:
        raise refuse(
            "torchtitan", "sequence_parallel", "off", "it always splits the sequence; use --sequence-parallel on"
        )
    if layout.recompute_layers is not None or layout.stage_recompute_layers is not None:
        raise refuse("torchtitan", "recompute_layers", "some layers", "use --recompute none, selective or full")
    if layout.cp > 1 and layout.context not in ROTATIONS:
        raise refuse("torchtitan", "context", layout.context, f"use --context {', '.join(ROTATIONS)}")
    if layout.offload is not Offload.NONE:
        raise refuse("torchtitan", "offload", layout.offload, "it offloads parameters too, which is not modelled")


def _training(layout: ParallelLayout, seq_len: int, precision: Precision) -> Section:
    # with a pipeline the local batch is what one replica computes in a step, split into micro-batches by the schedule
    local = layout.micro_batch * (layout.grad_accum if layout.pp > 1 else 1)
    fields: Section = {"local_batch_size": local, "global_batch_size": layout.global_batch, "seq_len": seq_len}
    return fields | {"mixed_precision_param": "float32" if precision is Precision.FP32 else "bfloat16"}


def _parallelism(layout: ParallelLayout) -> Section:
    hybrid = layout.sharding is Sharding.HSDP
    unsharded = layout.sharding is Sharding.NONE
    # context-parallel ranks shard parameters too, but are not counted in the shard degree
    shard = 1 if unsharded else max(layout.shard_group // layout.cp, 1) if hybrid else layout.dp
    fields: Section = {
        "data_parallel_replicate_degree": layout.dp // shard,
        "data_parallel_shard_degree": shard,
        "fsdp_reshard_after_forward": "never" if layout.sharding is Sharding.ZERO2 else "default",
    }
    fields |= {option.split(".")[1]: getattr(layout, name) for option, name in DEGREES.items()}
    if layout.cp > 1:
        fields["context_parallel_rotate_method"] = ROTATIONS[layout.context]
    if layout.pp > 1:
        fields["pipeline_parallel_schedule"] = SCHEDULES[layout.schedule]
        fields["pipeline_parallel_microbatch_size"] = layout.micro_batch
    if layout.stage_layers is not None:
        fields["module_fqns_per_model_part"] = _modules(layout.stage_layers)
    return fields


def _modules(stage_layers: tuple[int, ...]) -> list[list[str]]:
    """Names of the modules in each model chunk, as torchtitan calls them."""
    starts = [sum(stage_layers[:index]) for index in range(len(stage_layers))]
    parts = [
        [f"layers.{layer}" for layer in range(start, start + count)]
        for start, count in zip(starts, stage_layers, strict=True)
    ]
    return [["tok_embeddings", *parts[0]], *parts[1:-1], [*parts[-1], "norm", "output"]]


def _recompute(layout: ParallelLayout) -> Section:
    if layout.recompute is Recompute.SELECTIVE:
        return {"mode": "selective", "selective_ac_option": "op"}
    return {"mode": str(layout.recompute)}


def _toml(value: Value | list[str] | list[list[str]]) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\u{ord(c) & 0xFFFF:04x}" for c in escaped) + '"'
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, list) else str(value)


def read(text: str, file: str) -> Configuration:
    """The configuration in a TOML file. Raises InputError."""
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{file}: no valid TOML: {error}") from None
    reader = OptionReader(dict(_leaves(data)), file)
    layout = reader.fields(DEGREES)
    layout["sequence_parallel"] = int(layout.get("tp", 1)) > 1
    rotation = str(reader.take("parallelism.context_parallel_rotate_method") or "allgather")
    if int(layout.get("cp", 1)) > 1:
        layout["context"] = str(next((kind for kind, name in ROTATIONS.items() if name == rotation), rotation))
    layout |= _read_sharding(reader, layout) | _read_recompute(reader)
    job = reader.fields({"training.seq_len": "seq_len"})
    job["precision"] = _read_precision(reader)
    optimizer = str(reader.take("optimizer.name") or "AdamW").lower()
    job["optimizer"] = "sgd" if optimizer == "sgd" else "adamw"
    local, total = reader.number("training.local_batch_size"), reader.take("training.global_batch_size")
    local = local or reader.number("training.batch_size") or 8
    pipelined = int(layout.get("pp", 1)) > 1
    micro = reader.number("parallelism.pipeline_parallel_microbatch_size") or 1
    layout["micro_batch"] = micro if pipelined else local
    if pipelined:
        schedule = str(reader.take("parallelism.pipeline_parallel_schedule") or "1F1B").lower()
        layout["schedule"] = str(next((k for k, v in SCHEDULES.items() if v.lower() == schedule), schedule))
        layout |= _read_stages(reader, int(layout["pp"]), interleaved=schedule.startswith("interleaved"))
    if total is not None and str(total) != "-1":
        job["global_batch"] = reader.number("training.global_batch_size") or 0
    else:
        layout["local_batch"] = local
    name, flavor = reader.take("model.name"), reader.take("model.flavor")
    preset = next((preset for preset, known in FLAVORS.items() if known == (name, flavor)), None)
    return Configuration(
        framework="torchtitan",
        file=file,
        model={} if preset is None else {"preset": preset},
        job=job,
        layout=layout,
        stack="torchtitan" if reader.on("compile.enable") or reader.on("training.compile") else "torchtitan-eager",
        unread=reader.unread(),
    )


def _read_sharding(reader: OptionReader, layout: dict[str, Value]) -> dict[str, Value]:
    replicas = reader.number("parallelism.data_parallel_replicate_degree") or 1
    shard = reader.take("parallelism.data_parallel_shard_degree")
    never = reader.take("parallelism.fsdp_reshard_after_forward") == "never"
    if str(shard) == "1" and int(layout.get("cp", 1)) == 1:
        return {"sharding": str(Sharding.NONE), "replicas": replicas}
    if replicas > 1:
        return {"sharding": str(Sharding.HSDP), "replicas": replicas}
    return {"sharding": str(Sharding.ZERO2 if never else Sharding.FSDP)}


def _read_stages(reader: OptionReader, pp: int, *, interleaved: bool) -> dict[str, Value]:
    parts = str(reader.take("parallelism.module_fqns_per_model_part") or "")
    counts = [part.count("layers.") for part in parts.split("]") if "layers." in part]
    chunks = len(counts) // pp if counts else 2  # two stages a rank unless the split says otherwise
    stages: dict[str, Value] = {"stage_layers": ",".join(map(str, counts))} if counts else {}
    return stages | ({"virtual_stages": chunks} if interleaved else {})


def _read_recompute(reader: OptionReader) -> dict[str, Value]:
    mode = str(reader.take("activation_checkpoint.mode") or "selective")
    option = str(reader.take("activation_checkpoint.selective_ac_option") or "2")
    return {"recompute": mode} | (
        {"every_nth_layer": int(option)} if mode == "selective" and option.isdecimal() else {}
    )


def _read_precision(reader: OptionReader) -> str:
    converters = str(reader.take("model.converters") or "")
    if "mx" in converters:
        return str(Precision.MXFP8)
    if "float8" in converters:
        return str(Precision.FP8)
    return str(Precision.FP32 if reader.take("training.mixed_precision_param") == "float32" else Precision.BF16)


def _leaves(data: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, Value]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float | str):
            yield f"{prefix}{key}", value
        elif isinstance(value, list):
            yield f"{prefix}{key}", ",".join(map(str, value))
