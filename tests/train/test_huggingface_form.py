import json
from pathlib import Path
from typing import Any

import pytest
import torch

from glmplan.architecture.catalog import load_architecture
from glmplan.errors import InputError
from glmplan.train.decoder_model import Decoder
from glmplan.train.huggingface_form import (
    CONFIG_FILE,
    INDEX_FILE,
    check_same_shape,
    huggingface_name,
    read_configuration,
    weight_files,
    write_configuration,
)
from tests.train.jobs import tiny_architecture

LLAMA_3_8B = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "vocab_size": 128256,
}
"""From https://huggingface.co/meta-llama/Meta-Llama-3-8B/blob/main/config.json, without what says nothing of shapes."""


def test_llama_3_8b_is_written_as_meta_wrote_it() -> None:
    written = write_configuration(
        load_architecture("llama3-8b"), num_positions=8192, dtype="bfloat16", end_of_text=128001
    )
    assert {field: written[field] for field in LLAMA_3_8B} == LLAMA_3_8B
    assert (written["bos_token_id"], written["eos_token_id"]) == (128001, 128001)


@pytest.mark.parametrize("changes", [{}, {"qk_norm": True, "attention_bias": True, "output_bias": True}])
def test_every_parameter_has_a_name_of_its_own(changes: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = Decoder(tiny_architecture(**changes), num_positions=4)
    names = [huggingface_name(name) for name, _ in model.named_parameters()]
    assert len(set(names)) == len(names)
    assert "model.layers.1.self_attn.k_proj.weight" in names


def folder_with(tmp_path: Path, **changes: Any) -> Path:
    fields = write_configuration(tiny_architecture(), num_positions=16, dtype="float32", end_of_text=None)
    (tmp_path / CONFIG_FILE).write_text(json.dumps(fields | changes))
    return tmp_path


def test_all_that_differs_from_a_plan_is_named(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    check_same_shape(folder, tiny_architecture(name="other"))
    with pytest.raises(InputError, match="layers is 2, the plan has 3; vocab is 96, the plan has 97") as caught:
        check_same_shape(folder, tiny_architecture(layers=3, vocab=97))
    assert CONFIG_FILE in str(caught.value)


@pytest.mark.parametrize("positions", [0, -1, "many", True, 2.5])
def test_a_wrong_number_of_positions_is_refused(positions: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="max_position_embeddings: must be a positive number"):
        read_configuration(folder_with(tmp_path, max_position_embeddings=positions))


@pytest.mark.parametrize("places", [[], {}, "x", {"a": "../outside"}, {"a": "missing.safetensors"}])
def test_a_broken_index_is_refused(places: object, tmp_path: Path) -> None:
    (tmp_path / INDEX_FILE).write_text(json.dumps({"weight_map": places}))
    with pytest.raises(InputError, match="weight_map: "):
        weight_files(tmp_path)
