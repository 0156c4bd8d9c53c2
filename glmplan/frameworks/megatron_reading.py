"""Options in Megatron's vocabulary, in our words."""

import re

from glmplan.frameworks.configuration import Configuration, OptionReader, Value
from glmplan.frameworks.megatron_options import (
    CONTEXT_KINDS,
    DEGREES,
    FP8_RECIPES,
    SHARDING_STRATEGIES,
    WIDTHS,
    Options,
)
from glmplan.layout.parallel_layout import Offload, Recompute, Schedule, Sharding
from glmplan.precision import Precision

_DENSE_FIRST = re.compile(r"^\(?\[0\]\*(\d+)\+\[1\]\*\d+\)?$")


def read_options(options: Options, framework: str, file: str, unresolved: tuple[str, ...] = ()) -> Configuration:
    """``options`` in our words. Raises InputError for a value that is no number where one belongs."""
    reader = OptionReader(options, file)
    model = _model(reader)
    layout = reader.fields(DEGREES)
    split = reader.on("sequence_parallel")  # Megatron switches it off by itself without tensor parallelism
    layout["sequence_parallel"] = split and int(layout.get("tp", 1)) > 1
    layout |= _virtual_stages(reader, model, layout) | _sharding(reader) | _recompute(reader) | _stages(reader)
    job = reader.fields({"seq_length": "seq_len", "global_batch_size": "global_batch"})
    job |= {"precision": _precision(reader)}
    if (optimizer := reader.take("optimizer")) is not None:
        job["optimizer"] = "sgd" if str(optimizer).lower() == "sgd" else "adamw"
    kind = reader.take("cp_comm_type")
    if int(layout.get("cp", 1)) > 1 and (kind is None or str(kind) in CONTEXT_KINDS):
        layout["context"] = str(CONTEXT_KINDS[str(kind or "p2p")])
    if reader.on("optimizer_cpu_offload"):
        layout["offload"] = str(Offload.OPTIMIZER)
    # the preset for NeMo is megatron-core with gradients in bf16
    half_gradients = framework == "nemo" or reader.on("grad_reduce_in_bf16")
    devices, nodes = reader.number("nproc_per_node"), reader.number("nnodes")
    return Configuration(
        framework=framework,
        file=file,
        model=model,
        job=job,
        layout=layout,
        num_gpus=devices * nodes if devices and nodes else reader.number("world_size"),
        stack="nemo" if half_gradients else "megatron-core",
        unread=reader.unread(),
        unresolved=unresolved,
    )


def _model(reader: OptionReader) -> dict[str, Value]:
    model = reader.fields(WIDTHS)
    heads, hidden = model.get("heads"), model.get("hidden")
    if heads is None or hidden is None:
        return model
    model.setdefault("kv_heads", heads)
    model.setdefault("head_dim", int(hidden) // int(heads))
    model.setdefault("ffn_hidden", 4 * int(hidden))
    model["gated_mlp"] = reader.on("swiglu") or reader.on("gated_linear_unit")
    untied = reader.on("untie_embeddings_and_output_weights")
    shared = reader.take("share_embeddings_and_output_weights")
    model["tied_embeddings"] = reader.on("share_embeddings_and_output_weights") if shared is not None else not untied
    model["norm"] = "rms" if str(reader.take("normalization")).lower() == "rmsnorm" else "layer"
    biased = not reader.on("disable_bias_linear") and reader.take("add_bias_linear") not in (False, "false", "False")
    model |= {"mlp_bias": biased, "output_bias": biased, "attention_bias": biased or reader.on("add_qkv_bias")}
    model["qk_norm"] = reader.on("qk_layernorm") and not reader.on("multi_latent_attention")
    if reader.take("position_embedding_type") in (None, "learned_absolute"):
        model["learned_positions"] = reader.number("max_position_embeddings") or 0
    for name in ("group_query_attention", "moe_grouped_gemm", "max_position_embeddings"):
        reader.take(name)
    frequency = re.sub(r"\s", "", str(reader.take("moe_layer_freq") or ""))
    if "moe.experts" in model:
        model.setdefault("moe.expert_ffn_hidden", model["ffn_hidden"])
        model.setdefault("moe.top_k", 2)
        if match := _DENSE_FIRST.match(frequency):
            model["moe.dense_layers"] = int(match.group(1))
    return model


def _virtual_stages(reader: OptionReader, model: dict[str, Value], layout: dict[str, Value]) -> dict[str, Value]:
    chunks = reader.number("num_virtual_stages_per_pipeline_rank") or reader.number(
        "virtual_pipeline_model_parallel_size"
    )
    if per_chunk := reader.number("num_layers_per_virtual_pipeline_stage"):
        layers = int(model.get("layers", 0)) // int(layout.get("pp", 1))
        chunks = max(layers // per_chunk, 1) if layers else None
    if chunks is None or chunks == 1:
        return {}
    return {"virtual_stages": chunks, "schedule": str(Schedule.INTERLEAVED)}


def _sharding(reader: OptionReader) -> dict[str, Value]:
    distributed = reader.on("use_distributed_optimizer")
    strategy = str(reader.take("data_parallel_sharding_strategy") or "no_shard")
    instances = reader.number("num_distributed_optimizer_instances")
    if reader.on("use_torch_fsdp2"):
        return {"sharding": str(Sharding.FSDP)}
    if reader.on("use_megatron_fsdp") or reader.on("use_custom_fsdp"):
        kind = SHARDING_STRATEGIES.get(strategy, Sharding.FSDP)
        if kind is Sharding.FSDP and instances and instances > 1:
            return {"sharding": str(Sharding.HSDP), "replicas": instances}
        return {"sharding": str(kind)}
    return {"sharding": str(Sharding.ZERO1 if distributed else Sharding.NONE)}


def _recompute(reader: OptionReader) -> dict[str, Value]:
    granularity = str(reader.take("recompute_granularity") or "none").lower()
    method, layers = reader.take("recompute_method"), reader.number("recompute_num_layers")
    if reader.on("recompute_activations"):
        granularity = "selective"
    if granularity not in ("full", "selective"):
        return {"recompute": str(Recompute.NONE)}
    found: dict[str, Value] = {"recompute": granularity}
    if granularity == "full" and method == "block" and layers:
        found["recompute_layers"] = layers
    return found


def _stages(reader: OptionReader) -> dict[str, Value]:
    names = {
        "decoder_first_pipeline_num_layers": "first_stage_layers",
        "decoder_last_pipeline_num_layers": "last_stage_layers",
        "num_layers_in_first_pipeline_stage": "first_stage_layers",
        "num_layers_in_last_pipeline_stage": "last_stage_layers",
    }
    return reader.fields(names)


def _precision(reader: OptionReader) -> str:
    half, recipe = reader.on("fp16"), str(reader.take("fp8_recipe") or "").lower()
    bf16 = reader.on("bf16")
    four = reader.take("fp4_format") or reader.take("fp4")
    eight = reader.take("fp8_format") or reader.take("fp8")
    reader.take("fp4_recipe")
    if four:
        return str(Precision.NVFP4)
    if eight:
        return str(FP8_RECIPES.get(recipe, Precision.FP8))
    return str(Precision.FP16 if half else Precision.BF16 if bf16 else Precision.FP32)
