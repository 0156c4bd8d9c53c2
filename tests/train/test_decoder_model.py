from typing import Any

import pytest
import torch
from torch.nn import functional as F

from glmplan.architecture.parameters import parameter_counts
from glmplan.train.decoder_model import AttentionCore, Decoder, rotary_table, rotate
from glmplan.train.initialisation import materialise
from tests.train.jobs import CPU, SEQ_LEN, tiny_architecture

SHAPES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "multi-query, tied": {"kv_heads": 1, "tied_embeddings": True},
    "GPT-2": {
        "norm": "layer",
        "gated_mlp": False,
        "learned_positions": 32,
        "attention_bias": True,
        "output_bias": True,
        "mlp_bias": True,
        "kv_heads": 8,
    },
    "Qwen3": {"qk_norm": True, "head_dim": 8},
    "GLM-4": {"post_norms": True, "embedding_norm": True, "final_norm": False},
    "Mistral": {"sliding_window": 5},
}


def make_model(**changes: Any) -> Decoder:
    with torch.device("meta"):
        model = Decoder(tiny_architecture(**changes), num_positions=SEQ_LEN)
    materialise(model, CPU, seed=0)
    return model


def some_tokens(rows: int = 2) -> torch.Tensor:
    return torch.randint(0, 96, (rows, SEQ_LEN), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_model_has_the_parameters_that_the_architecture_counts(shape: str) -> None:
    model = make_model(**SHAPES[shape])
    assert sum(parameter.numel() for parameter in model.parameters()) == parameter_counts(model.arch).total


@pytest.mark.parametrize("shape", SHAPES)
def test_no_position_sees_later_tokens(shape: str) -> None:
    model, tokens = make_model(**SHAPES[shape]), some_tokens()
    changed = tokens.clone()
    changed[:, 9] = (changed[:, 9] + 1) % 96
    before, after = model(tokens), model(changed)
    assert torch.allclose(before[:, :9], after[:, :9], atol=1e-6)
    assert not torch.allclose(before[:, 9:], after[:, 9:], atol=1e-4)


def test_a_sliding_window_equals_attention_with_far_keys_removed() -> None:
    dice = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, 9, 4, generator=dice) for heads in (4, 2, 2))
    windowed = AttentionCore(3)(q, k, v)
    for index in range(9):
        keys = slice(max(0, index - 2), index + 1)
        alone = F.scaled_dot_product_attention(
            q[:, :, index : index + 1], k[:, :, keys], v[:, :, keys], enable_gqa=True
        )
        assert torch.allclose(windowed[:, :, index : index + 1], alone, atol=1e-6)


def test_rotary_scores_depend_on_distance_only() -> None:
    dice = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, 1, 1, 8, generator=dice).expand(1, 12, 1, 8) for _ in range(2))
    table = rotary_table(12, 8, 10000.0)
    scores = torch.einsum("blnh,bmnh->lm", rotate(query, table), rotate(key, table))
    for distance in range(12):
        diagonal = scores.diagonal(distance)
        assert torch.allclose(diagonal, diagonal[0].expand_as(diagonal), atol=1e-5)


def test_a_fresh_model_is_near_a_uniform_guess() -> None:
    model, tokens = make_model(), some_tokens(8)
    loss = F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
    assert loss.item() == pytest.approx(torch.tensor(96.0).log().item(), abs=0.05)
