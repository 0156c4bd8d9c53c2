"""Parameter counts against published ones, and the relations that any count must obey."""

import csv
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings

from glmplan.architecture.catalog import list_architectures, load_architecture
from glmplan.architecture.parameters import layer_parameters, parameter_counts
from glmplan.architecture.transformer import Architecture
from tests.strategies import architectures

GOLDEN = Path(__file__).parents[1] / "golden" / "parameter_counts.csv"


def published() -> list[dict[str, str]]:
    with GOLDEN.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("row", published(), ids=lambda row: row["name"])
def test_a_preset_has_the_published_number_of_parameters(row: dict[str, str]) -> None:
    counted = parameter_counts(load_architecture(row["name"])).total
    assert counted == pytest.approx(int(row["parameters"]), rel=float(row["relative_tolerance"]), abs=0), row["source"]


def test_every_preset_of_a_published_model_is_in_the_golden_table() -> None:
    known = {row["name"] for row in published()}
    assert {name for name in list_architectures() if not name.startswith("tiny-")} == known


@pytest.mark.parametrize(
    ("name", "active"),
    [
        ("mixtral-8x7b", 12.9e9),  # arXiv:2401.04088, section 2.2: 13B; 12.9B in the announcement
        ("mixtral-8x22b", 39.1e9),  # announcement of Mixtral 8x22B: 39B
        ("deepseek-v2", 21.4e9),  # arXiv:2405.04434, abstract: 21B
        ("deepseek-v3", 37.5e9),  # arXiv:2412.19437, abstract: 37B
        ("qwen3-30b-a3b", 3.35e9),  # model card: 3.3B
        ("qwen3-235b-a22b", 22.2e9),  # model card: 22B
    ],
)
def test_active_parameters_are_the_published_ones(name: str, active: float) -> None:
    assert parameter_counts(load_architecture(name)).active == pytest.approx(active, rel=0.005)


@pytest.mark.parametrize(("name", "active"), [("gpt-oss-120b", 5.13e9), ("gpt-oss-20b", 3.61e9)])
def test_gpt_oss_activates_what_its_card_says_without_the_input_embedding(name: str, active: float) -> None:
    """arXiv:2508.10925, table 1."""
    counts = parameter_counts(load_architecture(name))
    assert counts.active - counts.embedding == pytest.approx(active, rel=0.002)


def test_a_multi_token_prediction_module_is_a_layer_a_projection_and_three_norms() -> None:
    plain, with_module = load_architecture("deepseek-v3"), load_architecture("deepseek-v3-mtp")
    layer = layer_parameters(plain)
    added = layer.attention + layer.norms + layer.router + layer.routed_experts + layer.shared_experts
    added += 2 * plain.hidden**2 + 3 * plain.hidden
    assert parameter_counts(with_module).total - parameter_counts(plain).total == added


def test_deepseek_v3_activates_36_6_billion_without_its_input_embedding() -> None:
    """README_WEIGHTS.md of DeepSeek-V3: 36.6B activated, the output head (0.9B) included, the embedding not."""
    counts = parameter_counts(load_architecture("deepseek-v3"))
    assert counts.active - counts.embedding == pytest.approx(36.6e9, rel=0.002)
    assert counts.head == pytest.approx(0.93e9, rel=0.01)


@pytest.mark.parametrize(("name", "stored"), [("glm4.5", 358_337_791_296), ("glm4.5-air", 110_468_824_832)])
def test_the_prediction_layer_that_is_left_out_explains_the_weights_of_glm_4_5(name: str, stored: int) -> None:
    """The published weights hold one more expert layer with a 2h x h projection, three norms, embedding and head."""
    arch = load_architecture(name)
    layer = layer_parameters(arch)
    moe = layer.router + layer.routed_experts + layer.shared_experts
    extra = layer.attention + layer.norms + moe + 2 * arch.hidden**2 + 3 * arch.hidden + 2 * arch.vocab * arch.hidden
    assert parameter_counts(arch).total + extra == stored


@pytest.mark.parametrize("name", ["gpt3-175b", "megatron-22b", "megatron-530b", "megatron-1t"])
def test_gpt_counts_follow_narayanans_equation(name: str) -> None:
    """arXiv:2104.04473, eq. 2; it leaves out the final norm."""
    arch = load_architecture(name)
    n, h, v, s = arch.layers, arch.hidden, arch.vocab, arch.learned_positions
    assert parameter_counts(arch).total == 12 * n * h * h + 13 * n * h + (v + s) * h + 2 * h


@settings(deadline=None, max_examples=60)
@given(architectures())
def test_kinds_sum_to_the_total_and_layers_to_the_model(arch: Architecture) -> None:
    counts, layer = parameter_counts(arch), layer_parameters(arch)
    parts = asdict(counts)
    assert sum(value for kind, value in parts.items() if kind != "routed_experts_active") == counts.total
    dense = layer.attention + layer.norms + layer.dense_mlp
    moe = layer.attention + layer.norms + layer.router + layer.routed_experts + layer.shared_experts
    outside = counts.embedding + counts.position + counts.head + (2 if arch.norm == "layer" else 1) * arch.hidden
    assert (arch.layers - arch.moe_layers) * dense + arch.moe_layers * moe + outside == counts.total


@settings(deadline=None, max_examples=60)
@given(architectures())
def test_active_is_at_most_the_total_and_equal_when_every_expert_is_visited(arch: Architecture) -> None:
    counts = parameter_counts(arch)
    assert 0 < counts.active <= counts.total
    if arch.moe is None or arch.moe.top_k == arch.moe.experts:
        assert counts.active == counts.total
    else:
        assert counts.active < counts.total


@settings(deadline=None, max_examples=30)
@given(architectures())
def test_untying_the_embedding_adds_one_vocabulary_matrix(arch: Architecture) -> None:
    tied = parameter_counts(arch.model_copy(update={"tied_embeddings": True}))
    untied = parameter_counts(arch.model_copy(update={"tied_embeddings": False}))
    assert untied.total - tied.total == untied.head == arch.vocab * arch.hidden
    assert tied.head == 0


@settings(deadline=None, max_examples=30)
@given(architectures(mla=False))
def test_fewer_kv_heads_save_exactly_their_columns(arch: Architecture) -> None:
    full = arch.model_copy(update={"kv_heads": arch.heads})
    saved = 2 * (arch.heads - arch.kv_heads) * arch.head_dim * (arch.hidden + arch.attention_bias)
    assert layer_parameters(full).attention - layer_parameters(arch).attention == saved


@settings(deadline=None, max_examples=30)
@given(architectures())
def test_replicated_attention_is_a_part_of_attention(arch: Architecture) -> None:
    layer = layer_parameters(arch)
    assert 0 <= layer.attention_replicated < layer.attention
    if arch.mla is None:
        assert layer.attention_replicated == arch.hidden * arch.output_bias


def test_an_encoder_decoder_has_cross_attention_in_its_decoder_only() -> None:
    arch = load_architecture("t5-base")
    counts, layer = parameter_counts(arch), layer_parameters(arch)
    assert counts.cross_attention == 12 * layer.attention
    assert counts.attention == 24 * layer.attention
    assert counts.position == 2 * 32 * 12


def test_a_decoder_has_no_cross_attention_and_a_dense_one_no_experts() -> None:
    layer = layer_parameters(load_architecture("llama3-8b"))
    assert layer.cross_attention == layer.cross_norms == layer.router == layer.routed_experts == 0
    assert layer.dense_mlp == 3 * 4096 * 14336
