"""Reads a Hugging Face ``config.json`` as an architecture. Weights, tokenizers and quantisation are not looked at.

Defaults for fields that older files lack are those of the ``transformers`` configuration class of the model type.
Multi-token-prediction layers (DeepSeek-V3, GLM-4.5) are left out, as ``transformers`` leaves them out.
"""

import difflib
from collections.abc import Callable

from glmplan.architecture.config_fields import ConfigFields
from glmplan.architecture.transformer import Architecture
from glmplan.documents import Document, Json, check
from glmplan.errors import DocumentError, Fault, InputError


def from_huggingface(document: Document, name: str = "") -> Architecture:
    """The architecture that a ``config.json`` describes; ``name`` is used where the file does not name the model.

    Raises DocumentError for missing or invalid fields, InputError for a model type that is not supported.
    """
    model_type = document.data.get("model_type")
    if not isinstance(model_type, str):
        fault = Fault(field="model_type", reason=f"missing; one of {', '.join(sorted(_READERS))}")
        raise DocumentError(document.name, [fault])
    if model_type not in _READERS:
        near = difflib.get_close_matches(model_type, _READERS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        supported = ", ".join(sorted(_READERS))
        raise InputError(f"{document.name}: model_type: {model_type!r} is not supported; {hint}supported: {supported}")
    fields = ConfigFields(document)
    data = _READERS[model_type](fields)
    full_name = fields.text("_name_or_path", default=name or model_type).rstrip("/\\")
    data["name"] = full_name.replace("\\", "/").rpartition("/")[2] or model_type
    data["source"] = f"Hugging Face config.json, model_type {model_type}"
    kinds = set(fields.texts("layer_types"))
    if len(kinds) > 1:
        fields.fault("layer_types", f"layers of different kinds are not supported; got {', '.join(sorted(kinds))}")
    fields.finish()
    return check(Architecture, Document(name=document.name, data=data, lines={}))


def _rotary_decoder(fields: ConfigFields, *, default_head_dim: int = 0) -> Json:
    """What all decoders in the Llama manner share: gated MLP, RMS norms, rotary positions, no biases."""
    hidden, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    head_dim = fields.integer("head_dim", default=default_head_dim)
    return {
        "layers": fields.integer("num_hidden_layers"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": fields.integer("num_key_value_heads", default=heads),
        "head_dim": head_dim or _head_dim(fields, hidden, heads),
        "ffn_hidden": fields.integer("intermediate_size"),
        "vocab": fields.integer("vocab_size"),
        "tied_embeddings": fields.flag("tie_word_embeddings", default=False),
        "norm_epsilon": fields.number("rms_norm_eps", default=1e-6),
        "rope_theta": fields.number(
            "rope_theta", default=fields.inner_number("rope_parameters", "rope_theta", default=1e4)
        ),
    }


def _head_dim(fields: ConfigFields, hidden: int, heads: int) -> int:
    if hidden % heads:
        fields.fault("num_attention_heads", f"{heads} does not divide hidden size {hidden}; give head_dim")
    return max(1, hidden // heads)


def _llama(fields: ConfigFields) -> Json:
    bias = fields.flag("attention_bias", default=False)
    biases = {"attention_bias": bias, "output_bias": bias, "mlp_bias": fields.flag("mlp_bias", default=False)}
    return _rotary_decoder(fields) | biases


def _mistral(fields: ConfigFields) -> Json:
    return _rotary_decoder(fields) | {"sliding_window": fields.integer("sliding_window", default=0, minimum=0)}


def _mixtral(fields: ConfigFields) -> Json:
    data = _mistral(fields)
    data["moe"] = {
        "experts": fields.integer("num_local_experts"),
        "top_k": fields.integer("num_experts_per_tok"),
        "expert_ffn_hidden": data["ffn_hidden"],
    }
    return data


def _qwen_window(fields: ConfigFields, layers: int) -> int:
    """Qwen's window holds from layer ``max_window_layers`` on; only all layers or none can be represented."""
    if not fields.flag("use_sliding_window", default=False):
        return 0
    first = fields.integer("max_window_layers", default=28, minimum=0)
    if first >= layers:
        return 0
    if first > 0:
        fields.fault(
            "max_window_layers", f"a window in some layers only is not supported; use 0 or {layers}; got {first}"
        )
    return fields.integer("sliding_window", default=4096, minimum=0)


def _qwen2(fields: ConfigFields) -> Json:
    data = _rotary_decoder(fields)
    return data | {"attention_bias": True, "sliding_window": _qwen_window(fields, data["layers"])}


def _qwen3(fields: ConfigFields) -> Json:
    data = _rotary_decoder(fields, default_head_dim=128)
    bias = fields.flag("attention_bias", default=False)
    window = _qwen_window(fields, data["layers"])
    return data | {"attention_bias": bias, "output_bias": bias, "qk_norm": True, "sliding_window": window}


def _qwen_experts(fields: ConfigFields) -> Json:
    if (step := fields.integer("decoder_sparse_step", default=1)) != 1:
        fields.fault("decoder_sparse_step", f"only 1 (every layer has experts) is supported; got {step}")
    dense = fields.integers("mlp_only_layers")
    if sorted(dense) != list(range(len(dense))):
        fields.fault("mlp_only_layers", f"dense layers must come first; got {dense}")
    return {
        "experts": fields.integer("num_experts", "num_local_experts"),
        "top_k": fields.integer("num_experts_per_tok"),
        "expert_ffn_hidden": fields.integer("moe_intermediate_size"),
        "dense_layers": len(dense),
    }


def _qwen2_moe(fields: ConfigFields) -> Json:
    shared_width = fields.integer("shared_expert_intermediate_size")
    shared = {"shared_experts": 1, "shared_expert_ffn_hidden": shared_width, "shared_expert_gate": True}
    bias = fields.flag("qkv_bias", default=True)
    return _qwen2(fields) | {"attention_bias": bias, "moe": _qwen_experts(fields) | shared}


def _qwen3_moe(fields: ConfigFields) -> Json:
    return _qwen3(fields) | {"moe": _qwen_experts(fields)}


def _deepseek_experts(fields: ConfigFields, *, router_bias: bool) -> Json:
    if (frequency := fields.integer("moe_layer_freq", default=1)) != 1:
        fields.fault("moe_layer_freq", f"only 1 (every layer has experts) is supported; got {frequency}")
    return {
        "experts": fields.integer("n_routed_experts", "num_local_experts"),
        "top_k": fields.integer("num_experts_per_tok"),
        "expert_ffn_hidden": fields.integer("moe_intermediate_size"),
        "shared_experts": fields.integer("n_shared_experts", default=0, minimum=0),
        "dense_layers": fields.integer("first_k_dense_replace", default=0, minimum=0),
        "router_bias": router_bias,
    }


def _deepseek(fields: ConfigFields, *, router_bias: bool) -> Json:
    bias = fields.flag("attention_bias", default=False)
    latent = {
        "q_lora_rank": fields.integer("q_lora_rank", default=0, minimum=0),
        "kv_lora_rank": fields.integer("kv_lora_rank"),
        "qk_nope_head_dim": fields.integer("qk_nope_head_dim"),
        "qk_rope_head_dim": fields.integer("qk_rope_head_dim"),
        "v_head_dim": fields.integer("v_head_dim"),
    }
    return _rotary_decoder(fields, default_head_dim=latent["v_head_dim"]) | {
        "head_dim": latent["v_head_dim"],
        "attention_bias": bias,
        "output_bias": bias,
        "mla": latent,
        "moe": _deepseek_experts(fields, router_bias=router_bias),
    }


def _glm(fields: ConfigFields) -> Json:
    bias = fields.flag("attention_bias", default=False)
    return _rotary_decoder(fields, default_head_dim=128) | {"attention_bias": bias}


def _glm4_moe(fields: ConfigFields) -> Json:
    qk_norm = fields.flag("use_qk_norm", default=False)
    return _glm(fields) | {"qk_norm": qk_norm, "moe": _deepseek_experts(fields, router_bias=True)}


def _chatglm(fields: ConfigFields) -> Json:
    heads = fields.integer("num_attention_heads")
    grouped = fields.flag("multi_query_attention", default=False)
    bias = fields.flag("add_bias_linear", default=False)
    return {
        "layers": fields.integer("num_layers"),
        "hidden": fields.integer("hidden_size"),
        "heads": heads,
        "kv_heads": fields.integer("multi_query_group_num") if grouped else heads,
        "head_dim": fields.integer("kv_channels"),
        "ffn_hidden": fields.integer("ffn_hidden_size"),
        "vocab": fields.integer("padded_vocab_size", "vocab_size"),
        "tied_embeddings": fields.flag("tie_word_embeddings", default=False),
        "norm": "rms" if fields.flag("rmsnorm", default=True) else "layer",
        "final_norm": fields.flag("post_layer_norm", default=True),
        "attention_bias": bias or fields.flag("add_qkv_bias", default=False),
        "output_bias": bias,
        "mlp_bias": bias,
        "norm_epsilon": fields.number("layernorm_epsilon", default=1e-5),
        "rope_theta": 1e4 * fields.number("rope_ratio", default=1.0),
    }


def _classic(fields: ConfigFields, *, layers: str, hidden: str, heads: str) -> Json:
    """What GPT-2, GPT-NeoX, BLOOM and BERT share: two-matrix MLP, layer norms, a bias everywhere."""
    width, num_heads = fields.integer(hidden, "hidden_size"), fields.integer(heads, "num_attention_heads")
    return {
        "layers": fields.integer(layers, "num_hidden_layers"),
        "hidden": width,
        "heads": num_heads,
        "kv_heads": num_heads,
        "head_dim": _head_dim(fields, width, num_heads),
        "ffn_hidden": fields.integer("n_inner", "intermediate_size", default=4 * width),
        "gated_mlp": False,
        "vocab": fields.integer("vocab_size"),
        "tied_embeddings": fields.flag("tie_word_embeddings", default=True),
        "norm": "layer",
        "norm_epsilon": fields.number("layer_norm_epsilon", "layer_norm_eps", default=1e-5),
        "attention_bias": True,
        "output_bias": True,
        "mlp_bias": True,
    }


def _gpt2(fields: ConfigFields) -> Json:
    data = _classic(fields, layers="n_layer", hidden="n_embd", heads="n_head")
    return data | {"learned_positions": fields.integer("n_positions", "n_ctx", "max_position_embeddings")}


def _gpt_neox(fields: ConfigFields) -> Json:
    bias = fields.flag("attention_bias", default=True)
    return _classic(fields, layers="num_hidden_layers", hidden="hidden_size", heads="num_attention_heads") | {
        "ffn_hidden": fields.integer("intermediate_size"),
        "tied_embeddings": fields.flag("tie_word_embeddings", default=False),
        "attention_bias": bias,
        "output_bias": bias,
        "rope_theta": fields.number("rotary_emb_base", "rope_theta", default=1e4),
    }


def _bloom(fields: ConfigFields) -> Json:
    return _classic(fields, layers="n_layer", hidden="n_embed", heads="n_head") | {"embedding_norm": True}


def _bert(fields: ConfigFields) -> Json:
    return _classic(fields, layers="num_hidden_layers", hidden="hidden_size", heads="num_attention_heads") | {
        "family": "encoder",
        "ffn_hidden": fields.integer("intermediate_size"),
        "learned_positions": fields.integer("max_position_embeddings"),
        "token_types": fields.integer("type_vocab_size", default=2),
        "embedding_norm": True,
        "final_norm": False,
        "bert_heads": True,
    }


def _t5(fields: ConfigFields) -> Json:
    layers, heads = fields.integer("num_layers"), fields.integer("num_heads")
    return {
        "family": "encoder-decoder",
        "layers": layers,
        "decoder_layers": fields.integer("num_decoder_layers", default=layers),
        "hidden": fields.integer("d_model"),
        "heads": heads,
        "kv_heads": heads,
        "head_dim": fields.integer("d_kv"),
        "ffn_hidden": fields.integer("d_ff"),
        "gated_mlp": fields.text("feed_forward_proj", default="relu").startswith("gated"),
        "vocab": fields.integer("vocab_size"),
        "tied_embeddings": fields.flag("tie_word_embeddings", default=True),
        "relative_position_buckets": fields.integer("relative_attention_num_buckets", default=32),
        "norm_epsilon": fields.number("layer_norm_epsilon", default=1e-6),
    }


_READERS: dict[str, Callable[[ConfigFields], Json]] = {
    "llama": _llama,
    "mistral": _mistral,
    "mixtral": _mixtral,
    "qwen2": _qwen2,
    "qwen2_moe": _qwen2_moe,
    "qwen3": _qwen3,
    "qwen3_moe": _qwen3_moe,
    "deepseek_v2": lambda fields: _deepseek(fields, router_bias=False),
    "deepseek_v3": lambda fields: _deepseek(fields, router_bias=True),
    "glm": _glm,
    "glm4": lambda fields: _glm(fields) | {"post_norms": True},
    "glm4_moe": _glm4_moe,
    "chatglm": _chatglm,
    "gpt2": _gpt2,
    "gpt_neox": _gpt_neox,
    "bloom": _bloom,
    "bert": _bert,
    "t5": _t5,
}
