"""What an architecture refuses."""

from typing import Any

import pytest
from pydantic import ValidationError

from glmplan.architecture.transformer import Architecture

SHAPE: dict[str, Any] = {
    "name": "toy",
    "layers": 2,
    "hidden": 32,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 8,
    "ffn_hidden": 64,
    "vocab": 100,
}
MOE = {"experts": 4, "top_k": 2, "expert_ffn_hidden": 16}
MLA = {"kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kv_heads": 3}, "kv_heads: 3 does not divide heads 4; use one of 1, 2, 4"),
        ({"decoder_layers": 2}, "decoder_layers: must be positive for an encoder-decoder"),
        ({"family": "encoder-decoder"}, "decoder_layers: must be positive for an encoder-decoder"),
        ({"moe": MOE | {"top_k": 5}}, "top_k: 5 is more than experts 4"),
        ({"moe": MOE | {"dense_layers": 2}}, "moe.dense_layers: must be less than layers 2; got 2"),
        ({"moe": MOE | {"shared_expert_gate": True}}, "shared_expert_gate: needs shared experts"),
        ({"family": "encoder-decoder", "decoder_layers": 2, "moe": MOE}, "an encoder-decoder has neither"),
        ({"mla": MLA, "qk_norm": True}, "latent attention has its own norms"),
        ({"layers": 0}, "greater than 0"),
        ({"layers": True}, "valid integer"),
        ({"hidden": "32"}, "valid integer"),
        ({"vocab": 10**30}, "less than or equal"),
        ({"rope_theta": float("inf")}, "finite number"),
        ({"depth": 2}, "Extra inputs"),
    ],
)
def test_a_wrong_shape_is_refused_with_its_reason(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Architecture.model_validate(SHAPE | change)
    assert message in str(caught.value)


def test_an_architecture_survives_json() -> None:
    arch = Architecture.model_validate(SHAPE | {"moe": MOE | {"dense_layers": 1}, "mla": MLA, "norm": "layer"})
    assert Architecture.model_validate_json(arch.model_dump_json()) == arch
    assert (arch.moe_layers, arch.total_layers, arch.causal) == (1, 2, True)
