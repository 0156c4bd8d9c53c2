"""Hugging Face configurations as architectures, and what is refused."""

from typing import Any

import pytest

from glmplan.architecture.catalog import load_architecture
from glmplan.architecture.huggingface import from_huggingface
from glmplan.architecture.parameters import parameter_counts
from glmplan.documents import Document
from glmplan.errors import DocumentError, InputError


def decoder(model_type: str, layers: int, hidden: int, heads: int, kv: int, ffn: int, vocab: int, **more: Any) -> Any:
    return {
        "model_type": model_type,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": ffn,
        "vocab_size": vocab,
    } | more


LLAMA = decoder("llama", 32, 4096, 32, 8, 14336, 128256, rms_norm_eps=1e-5, rope_theta=500000.0)
LATENT = {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
GLM = {"head_dim": 128, "attention_bias": True, "rms_norm_eps": 1.5625e-07}
CHATGLM = {
    "model_type": "chatglm",
    "num_layers": 40,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "kv_channels": 128,
    "ffn_hidden_size": 13696,
    "padded_vocab_size": 151552,
    "add_bias_linear": False,
    "add_qkv_bias": True,
    "rmsnorm": True,
    "layernorm_epsilon": 1.5625e-07,
}
DEEPSEEK_V3 = decoder(
    "deepseek_v3", 61, 7168, 128, 128, 18432, 129280, rms_norm_eps=1e-6, q_lora_rank=1536, **LATENT
) | {
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 2048,
    "n_shared_experts": 1,
    "first_k_dense_replace": 3,
    "moe_layer_freq": 1,
    "num_nextn_predict_layers": 1,
}
GLM_AIR = decoder("glm4_moe", 46, 4096, 96, 8, 10944, 151552, **(GLM | {"rms_norm_eps": 1e-5})) | {
    "rope_theta": 1000000,
    "n_routed_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 1408,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "use_qk_norm": False,
}
QWEN3_MOE = decoder("qwen3_moe", 48, 2048, 32, 4, 6144, 151936, head_dim=128, rope_theta=1e6, rms_norm_eps=1e-6) | {
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
GPT2 = {"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}
BLOOM = {"model_type": "bloom", "n_layer": 70, "n_embed": 14336, "num_attention_heads": 112, "vocab_size": 250880}
BERT = {
    "model_type": "bert",
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}
T5 = {
    "model_type": "t5",
    "num_layers": 6,
    "num_heads": 8,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "vocab_size": 32128,
    "layer_norm_epsilon": 1e-6,
}
MISTRAL = decoder("mistral", 32, 4096, 32, 8, 14336, 32000, sliding_window=4096, rms_norm_eps=1e-5)
MIXTRAL = decoder("mixtral", 32, 4096, 32, 8, 14336, 32000, rms_norm_eps=1e-5, rope_theta=1e6) | {
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "sliding_window": None,
}
QWEN3 = decoder("qwen3", 28, 1024, 16, 8, 3072, 151936, head_dim=128, tie_word_embeddings=True) | {
    "rope_theta": 1000000,
    "use_sliding_window": False,
    "max_window_layers": 28,
}


@pytest.mark.parametrize(
    ("config", "preset"),
    [
        (LLAMA, "llama3-8b"),
        (MISTRAL, "mistral-7b"),
        (MIXTRAL, "mixtral-8x7b"),
        (QWEN3, "qwen3-0.6b"),
        (QWEN3_MOE, "qwen3-30b-a3b"),
        (DEEPSEEK_V3, "deepseek-v3"),
        (decoder("glm", 40, 4096, 32, 2, 13696, 151552, **GLM), "glm4-9b"),
        (CHATGLM, "glm4-9b"),
        (GLM_AIR, "glm4.5-air"),
        (GPT2, "gpt2"),
        (BLOOM, "bloom-176b"),
        (BERT, "bert-base"),
        (T5, "t5-small"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["model_type"],
)
def test_a_published_configuration_is_the_preset(config: dict[str, Any], preset: str) -> None:
    expected = load_architecture(preset)
    assert read(config, name=preset).model_copy(update={"source": expected.source}) == expected


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        # Qwen/Qwen2.5-7B
        (decoder("qwen2", 28, 3584, 28, 4, 18944, 152064), 7_615_616_512),
        # Qwen/Qwen1.5-MoE-A2.7B
        (
            decoder("qwen2_moe", 24, 2048, 16, 16, 5632, 151936)
            | {
                "num_experts": 60,
                "num_experts_per_tok": 4,
                "moe_intermediate_size": 1408,
                "shared_expert_intermediate_size": 5632,
            },
            14_315_784_192,
        ),
        # deepseek-ai/DeepSeek-V2-Lite: no query compression
        (
            decoder("deepseek_v2", 27, 2048, 16, 16, 10944, 102400, q_lora_rank=None, **LATENT)
            | {
                "n_routed_experts": 64,
                "num_experts_per_tok": 6,
                "moe_intermediate_size": 1408,
                "n_shared_experts": 2,
                "first_k_dense_replace": 1,
            },
            15_706_484_224,
        ),
        # THUDM/GLM-4-9B-0414
        (decoder("glm4", 40, 4096, 32, 2, 13696, 151552, **GLM), 9_400_279_040),
        # EleutherAI/gpt-neox-20b, model card
        (decoder("gpt_neox", 44, 6144, 64, 64, 24576, 50432), 20_554_567_680),
        # bigscience/bloom-560m
        (BLOOM | {"n_layer": 24, "n_embed": 1024, "num_attention_heads": 16}, 559_214_592),
        # google/t5-v1_1-small: gated, untied
        (
            T5
            | {
                "num_layers": 8,
                "num_decoder_layers": 8,
                "num_heads": 6,
                "d_ff": 1024,
                "feed_forward_proj": "gated-gelu",
                "tie_word_embeddings": False,
            },
            76_961_152,
        ),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else "",
)
def test_a_published_configuration_has_the_published_number_of_parameters(
    config: dict[str, Any], parameters: int
) -> None:
    assert parameter_counts(read(config)).total == parameters


def test_the_model_is_named_after_the_file_then_the_folder_then_its_type() -> None:
    assert read(LLAMA | {"_name_or_path": "meta-llama/Llama-3.1-8B/"}, name="folder").name == "Llama-3.1-8B"
    assert read(LLAMA, name="folder").name == "folder"
    assert read(LLAMA).name == "llama"


def test_newer_files_keep_the_rotary_base_in_a_group() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "rope_theta"}
    assert read(config | {"rope_parameters": {"rope_theta": 250000.0}}).rope_theta == 250000.0


@pytest.mark.parametrize(("first", "window"), [(0, 1024), (28, 0)])
def test_qwens_window_holds_in_all_layers_or_none(first: int, window: int) -> None:
    config = QWEN3 | {"use_sliding_window": True, "sliding_window": 1024, "max_window_layers": first}
    assert read(config).sliding_window == window


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"hidden_size": None}, "config.json: hidden_size: missing; give a whole number of at least 1"),
        ({"hidden_size": "4096"}, "config.json: hidden_size: must be a whole number of at least 1; got '4096'"),
        ({"num_hidden_layers": 0}, "config.json: num_hidden_layers: must be a whole number of at least 1; got 0"),
        ({"vocab_size": True}, "config.json: vocab_size: must be a whole number of at least 1; got True"),
        ({"rms_norm_eps": -1.0}, "config.json: rms_norm_eps: must be a positive number; got -1.0"),
        ({"tie_word_embeddings": "no"}, "config.json: tie_word_embeddings: must be true or false; got 'no'"),
        (
            {"num_key_value_heads": 5},
            "config.json: kv_heads: 5 does not divide heads 32; use one of 1, 2, 4, 8, 16, 32",
        ),
        (
            {"num_attention_heads": 30},
            "config.json: num_attention_heads: 30 does not divide hidden size 4096; give head_dim",
        ),
        ({"layer_types": "all"}, "config.json: layer_types: must be a list; got 'all'"),
        (
            {"layer_types": ["full", "sliding"]},
            "config.json: layer_types: layers of different kinds are not supported; got full, sliding",
        ),
    ],
)
def test_a_bad_field_is_named_with_file_and_mend(change: dict[str, Any], line: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read(LLAMA | change)
    assert line in str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (QWEN3_MOE | {"decoder_sparse_step": 2}, "decoder_sparse_step"),
        (QWEN3_MOE | {"mlp_only_layers": [5]}, "mlp_only_layers"),
        (QWEN3_MOE | {"mlp_only_layers": ["a"]}, "mlp_only_layers"),
        (DEEPSEEK_V3 | {"moe_layer_freq": 2}, "moe_layer_freq"),
        (QWEN3 | {"use_sliding_window": True, "max_window_layers": 14}, "max_window_layers"),
        (LLAMA | {"rope_theta": None, "rope_parameters": {"rope_theta": 0}}, "rope_parameters.rope_theta"),
    ],
)
def test_what_cannot_be_represented_is_refused_not_guessed(config: dict[str, Any], field: str) -> None:
    with pytest.raises(DocumentError, match=f"^config.json: {field}: "):
        read(config)


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(DocumentError) as caught:
        read({"model_type": "llama", "hidden_size": -1})
    fields = [fault.field for fault in caught.value.faults]
    assert fields == ["hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "vocab_size"]


def test_an_unknown_model_type_lists_the_supported_ones() -> None:
    with pytest.raises(InputError, match=r"'lama' is not supported; did you mean 'llama'\? supported: bert, bloom"):
        read({"model_type": "lama"})
    with pytest.raises(DocumentError, match="model_type: missing; one of bert"):
        read({})


def read(config: dict[str, Any], name: str = "") -> Any:
    return from_huggingface(Document(name="config.json", data=config, lines={}), name=name)
