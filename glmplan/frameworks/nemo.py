"""NeMo and Megatron-Bridge: a YAML file with the sections of a ``ConfigContainer``.

Section and field names as in Megatron-Bridge's configuration guide; NeMo 2 recipes and their overrides use the same
fields of Megatron-core.
"""

from collections.abc import Iterator, Mapping

from glmplan.documents import parse_yaml, yaml_text
from glmplan.errors import InputError
from glmplan.frameworks.configuration import Configuration, Value, refuse
from glmplan.frameworks.megatron_options import Options, layout_options, model_options
from glmplan.frameworks.megatron_reading import read_options
from glmplan.frameworks.provenance import header
from glmplan.plan.document import Plan
from glmplan.precision import Precision

MIXED_PRECISION = {
    Precision.BF16: "bf16_mixed",
    Precision.FP16: "fp16_mixed",
    Precision.FP8: "bf16_with_fp8_current_scaling_mixed",
    Precision.FP8_BLOCKWISE: "bf16_with_fp8_subchannel_scaling_mixed",
    Precision.MXFP8: "bf16_with_mxfp8_mixed",
    Precision.NVFP4: "bf16_with_nvfp4_mixed",
}
"""Format -> name of Megatron-Bridge's mixed-precision recipe."""
CORE_NAMES = {
    "num_experts": "num_moe_experts",
    "swiglu": "gated_linear_unit",
    "num_virtual_stages_per_pipeline_rank": "virtual_pipeline_model_parallel_size",
    "decoder_first_pipeline_num_layers": "num_layers_in_first_pipeline_stage",
    "decoder_last_pipeline_num_layers": "num_layers_in_last_pipeline_stage",
}
"""Megatron-LM's argument -> the field of Megatron-core's configuration that it sets."""
DDP_FIELDS = (
    "use_distributed_optimizer",
    "use_megatron_fsdp",
    "data_parallel_sharding_strategy",
    "num_distributed_optimizer_instances",
)
TRAIN_FIELDS = ("micro_batch_size", "global_batch_size")
ARGUMENT_ONLY = ("group_query_attention", "disable_bias_linear", "untie_embeddings_and_output_weights")


def write(plan: Plan) -> str:
    """The plan as overrides of a ConfigContainer. Raises InputError for what NeMo cannot run."""
    job, layout = plan.request.job, plan.chosen.layout
    if job.precision not in MIXED_PRECISION:
        raise refuse("NeMo", "precision", job.precision, f"use {', '.join(MIXED_PRECISION)}")
    model, parallel = model_options(job.architecture), layout_options(layout, job)
    options = {CORE_NAMES.get(name, name): value for name, value in (model | parallel).items()}
    arch = job.architecture
    options["share_embeddings_and_output_weights"] = arch.tied_embeddings
    options["add_bias_linear"] = arch.mlp_bias or arch.output_bias
    for name in ARGUMENT_ONLY:
        options.pop(name, None)
    sections: dict[str, dict[str, Value]] = {
        "model": {"seq_length": job.seq_len},
        "train": {name: options.pop(name) for name in TRAIN_FIELDS},
        "ddp": {name: options.pop(name) for name in DDP_FIELDS if name in options},
        "dataset": {"sequence_length": job.seq_len},
        "optimizer": {"optimizer": "sgd" if job.optimizer == "sgd" else "adam"},
    }
    sections["model"] |= options
    filled = {name: fields for name, fields in sections.items() if fields}
    comment = [
        *header(plan),
        "Overrides of a recipe's ConfigContainer; data, schedule and checkpoints are left to you.",
    ]
    return yaml_text({**filled, "mixed_precision": MIXED_PRECISION[job.precision]}, "\n".join(comment))


def read(text: str, file: str) -> Configuration:
    """The configuration in a YAML file. Raises DocumentError or InputError."""
    document = parse_yaml(text, file)
    options: Options = {}
    for name, value in _leaves(document.data):
        options.setdefault(_ALIASES.get(name, name), value)
    if not options:
        raise InputError(f"{file}: holds no settings; give a YAML file with a model and a train section")
    recipe = str(options.pop("mixed_precision", options.pop("precision", "")))
    options |= _precision_options(recipe)
    if "num_nodes" in options and "devices" in options:
        options |= {"nnodes": options.pop("num_nodes"), "nproc_per_node": options.pop("devices")}
    return read_options(options, "nemo", file)


_ALIASES = {"sequence_length": "seq_length", "num_gpus_per_node": "devices", "gpus_per_node": "devices"}


def _precision_options(recipe: str) -> Options:
    named = next((precision for precision, name in MIXED_PRECISION.items() if name == recipe.replace("-", "_")), None)
    if named is None and "fp8" in recipe:
        named = Precision.FP8
    if named is Precision.FP16:
        return {"fp16": True}
    options: Options = {"bf16": True} if recipe else {}
    if named is Precision.NVFP4:
        return options | {"fp4_format": "e2m1"}
    if named in (Precision.FP8, Precision.FP8_BLOCKWISE, Precision.MXFP8):
        recipes = {Precision.MXFP8: "mxfp8", Precision.FP8_BLOCKWISE: "blockwise"}
        return options | {"fp8_format": "hybrid", "fp8_recipe": recipes.get(named, "tensorwise")}
    return options


def _leaves(data: Mapping[str, object]) -> Iterator[tuple[str, Value]]:
    """Field name -> value of every section, however deep; dotted names count as their last part."""
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        elif isinstance(value, bool | int | float | str):
            yield str(key).rpartition(".")[2], value
