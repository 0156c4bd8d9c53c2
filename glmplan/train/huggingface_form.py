"""The Hugging Face form of a dense decoder: its ``config.json`` and the names of its tensors. Needs no torch.

Covers the model types that share Llama's modules; what a type can say is what ``architecture.huggingface`` reads back.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmplan.architecture.huggingface import from_huggingface
from glmplan.architecture.transformer import Architecture
from glmplan.documents import Document, Json, parse_json, read_json, read_text
from glmplan.errors import DocumentError, Fault, InputError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
"""Model type -> the class of ``transformers`` that it names."""
_NOT_SHAPE = {"name", "source"}
_OUTER = {"embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
_INNER = {
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
    "mlp_norm": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What a ``config.json`` says that the trainer needs."""

    model_type: str
    architecture: Architecture
    num_positions: int


def huggingface_name(parameter: str) -> str:
    """What ``transformers`` calls one of the decoder's parameters.

    >>> huggingface_name("layers.3.attention.query.weight")
    'model.layers.3.self_attn.q_proj.weight'
    """
    module, _, kind = parameter.rpartition(".")
    if layer := re.fullmatch(r"layers\.(\d+)\.(.+)", module):
        return f"model.layers.{layer[1]}.{_INNER[layer[2]]}.{kind}"
    return f"{_OUTER[module]}.{kind}"


def differences(one: Architecture, other: Architecture) -> dict[str, tuple[Any, Any]]:
    """Fields of the shape in which two architectures differ, with both values."""
    left, right = (arch.model_dump(mode="json", exclude=_NOT_SHAPE) for arch in (one, other))
    return {field: (left[field], right[field]) for field in left if left[field] != right[field]}


def write_configuration(arch: Architecture, *, num_positions: int, dtype: str, end_of_text: int | None) -> Json:
    """The fields of a ``config.json``. Raises InputError, naming fields, when no model type can express ``arch``."""
    nearest: dict[str, tuple[Any, Any]] | None = None
    for model_type in CLASSES:
        fields = _fields(arch, model_type)
        read_back = from_huggingface(Document(name=CONFIG_FILE, data=fields, lines={}))
        differing = differences(arch, read_back)
        # Only Llama's class insists on heads that divide the width.
        if not differing and (model_type != "llama" or arch.hidden % arch.heads == 0):
            ends = {"bos_token_id": end_of_text, "eos_token_id": end_of_text, "pad_token_id": None}
            return fields | ends | {"max_position_embeddings": num_positions, "dtype": dtype}
        if nearest is None or len(differing) < len(nearest):
            nearest = differing
    if not nearest:
        raise InputError(f"model: heads {arch.heads} does not divide hidden {arch.hidden}; transformers needs that")
    told = "; ".join(
        f"{field} is {_short(own)}, only {_short(theirs)} can be" for field, (own, theirs) in nearest.items()
    )
    raise InputError(f"model: {arch.name} has no Hugging Face form ({', '.join(CLASSES)}): {told}")


def _short(value: Any) -> str:
    return "set" if isinstance(value, dict) else "none" if value is None else str(value).lower()


def _fields(arch: Architecture, model_type: str) -> Json:
    fields: Json = {
        "architectures": [CLASSES[model_type]],
        "model_type": model_type,
        "vocab_size": arch.vocab,
        "hidden_size": arch.hidden,
        "intermediate_size": arch.ffn_hidden,
        "num_hidden_layers": arch.layers,
        "num_attention_heads": arch.heads,
        "num_key_value_heads": arch.kv_heads,
        "head_dim": arch.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": arch.norm_epsilon,
        # Both forms: transformers 5 reads the second, earlier ones the first.
        "rope_theta": arch.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": arch.rope_theta},
        "tie_word_embeddings": arch.tied_embeddings,
        "attention_dropout": 0.0,
    }
    if model_type in ("llama", "qwen3"):
        fields["attention_bias"] = arch.attention_bias
    if model_type == "llama":
        fields["mlp_bias"] = arch.mlp_bias
    if model_type == "mistral":
        # Absent would mean 4,096 to transformers; null means no window.
        fields["sliding_window"] = arch.sliding_window or None
    if model_type.startswith("qwen"):
        fields["use_sliding_window"] = False
    return fields


def read_configuration(folder: Path) -> Configuration:
    """The ``config.json`` of ``folder``. Raises InputError when the trainer's decoder would compute something else."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise InputError(f"{folder}: holds no {CONFIG_FILE}; expected a Hugging Face model folder")
    document = read_json(path)
    faults = _faults(document.data)
    if faults:
        raise DocumentError(document.name, faults)
    arch = from_huggingface(document, folder.resolve().name)
    positions = document.data.get("max_position_embeddings")
    return Configuration(model_type=document.data["model_type"], architecture=arch, num_positions=positions or 2048)


def check_same_shape(folder: Path, arch: Architecture) -> None:
    """Raises InputError, naming the fields, when the model in ``folder`` is not ``arch``."""
    differing = differences(read_configuration(folder).architecture, arch)
    if differing:
        told = "; ".join(
            f"{field} is {_short(own)}, the plan has {_short(other)}" for field, (own, other) in differing.items()
        )
        raise InputError(f"{folder}: another model: {told}; plan with --model {folder / CONFIG_FILE}")


def _faults(data: Json) -> list[Fault]:
    faults = []
    model_type = data.get("model_type")
    if model_type not in CLASSES:
        faults.append(Fault(field="model_type", reason=f"must be one of {', '.join(CLASSES)}; got {model_type!r}"))
    scaling = data.get("rope_parameters") or data.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default")) if isinstance(scaling, dict) else scaling
    if kind != "default":
        faults.append(
            Fault(field="rope_scaling", reason=f"the trainer's rotary positions are not scaled; got {kind!r}")
        )
    for field, wanted in {"hidden_act": "silu", "partial_rotary_factor": 1.0, "quantization_config": None}.items():
        if (given := data.get(field, wanted)) != wanted:
            faults.append(Fault(field=field, reason=f"must be {_short(wanted)}; got {_short(given)}"))
    positions = data.get("max_position_embeddings", 2048)
    if not isinstance(positions, int) or isinstance(positions, bool) or positions < 1:
        faults.append(Fault(field="max_position_embeddings", reason=f"must be a positive number; got {positions!r}"))
    return faults


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of ``folder``. Raises InputError when one is missing."""
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    index = folder / INDEX_FILE
    if not index.is_file():
        raise InputError(f"{folder}: holds no {WEIGHTS_FILE} (nor {INDEX_FILE}); other forms of weights are not read")
    places = parse_json(read_text(index), str(index)).data.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise InputError(f"{index}: weight_map: must say which file holds which tensor")
    names = sorted({str(name) for name in places.values()})
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise InputError(f"{index}: weight_map: names {name!r}, which is no file in that folder")
    return [folder / name for name in names]
