"""Model FLOPs against published formulas and figures, and their relations."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.architecture.catalog import load_architecture
from glmplan.architecture.model_flops import attended_keys, mean_attended_keys, model_flops_per_token
from glmplan.architecture.parameters import parameter_counts
from glmplan.architecture.transformer import Architecture
from tests.strategies import architectures

SEQ_LENS = st.integers(1, 8192)


@pytest.mark.parametrize("name", ["gpt2", "gpt3-175b", "megatron-22b", "megatron-530b", "megatron-1t"])
def test_gpt_flops_follow_narayanans_equation(name: str) -> None:
    """arXiv:2104.04473, eq. 3, with 72 instead of 96: without its recomputation."""
    arch = load_architecture(name)
    n, h, v, s = arch.layers, arch.hidden, arch.vocab, 1024
    expected = 72 * n * h * h * (1 + s / (6 * h) + v / (12 * n * h))
    assert model_flops_per_token(arch, s).total == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "step_s", "mfu", "gpus", "batch"),
    [
        ("megatron-22b", 1.10, 0.415, 8, 4),
        ("gpt3-175b", 13.75, 0.514, 64, 64),
        ("megatron-530b", 37.83, 0.560, 280, 280),
        ("megatron-1t", 71.49, 0.563, 512, 512),
    ],
)
def test_step_time_and_mfu_of_korthikanti_give_our_flops(
    name: str, step_s: float, mfu: float, gpus: int, batch: int
) -> None:
    """arXiv:2205.05198, table 5: model FLOPs = MFU x seconds x GPUs x 312 TFLOP/s; both factors are rounded."""
    published = mfu * step_s * gpus * 312e12 / (batch * 2048)
    assert model_flops_per_token(load_architecture(name), 2048).total == pytest.approx(published, rel=0.005)


@pytest.mark.parametrize(
    ("name", "published", "tolerance"),
    [("deepseek-v3", 250e9, 0.003), ("deepseek-v2", 155e9, 0.003), ("llama3-405b", 2448e9, 0.011)],
)
def test_causal_half_gives_the_training_cost_that_deepseek_published(
    name: str, published: float, tolerance: float
) -> None:
    """Insights into DeepSeek-V3, arXiv:2505.09343, table 2: FLOPs per token at 4096 tokens."""
    flops = model_flops_per_token(load_architecture(name), 4096, causal_half=True).total
    assert flops == pytest.approx(published, rel=tolerance)


@pytest.mark.parametrize("name", ["llama3-8b", "llama2-70b", "qwen3-14b"])
def test_flops_are_six_per_parameter_plus_twelve_l_h_q_t(name: str) -> None:
    """PaLM, arXiv:2204.02311, appendix B, with N without the input embedding; norms are all that differs."""
    arch, seq_len = load_architecture(name), 2048
    counts = parameter_counts(arch)
    palm = 6 * (counts.total - counts.embedding) + 12 * arch.layers * arch.heads * arch.head_dim * seq_len
    assert model_flops_per_token(arch, seq_len).total == pytest.approx(palm, rel=1e-4)


@settings(deadline=None, max_examples=60)
@given(architectures(), SEQ_LENS)
def test_matmul_flops_are_six_per_active_weight(arch: Architecture, seq_len: int) -> None:
    plain = arch.model_copy(
        update={"attention_bias": False, "output_bias": False, "mlp_bias": False}
        | ({} if arch.moe is None else {"moe": arch.moe.model_copy(update={"router_bias": False})})
    )
    counts = parameter_counts(plain)
    weights = counts.attention + counts.dense_mlp + counts.router + counts.shared_experts + counts.routed_experts_active
    assert model_flops_per_token(arch, seq_len).matmul == 6 * weights
    assert model_flops_per_token(arch, seq_len).head == 6 * arch.vocab * arch.hidden


@settings(deadline=None, max_examples=60)
@given(architectures(), SEQ_LENS)
def test_parts_sum_and_only_attention_depends_on_length(arch: Architecture, seq_len: int) -> None:
    short, long = model_flops_per_token(arch, seq_len), model_flops_per_token(arch, 2 * seq_len)
    assert short.total == short.matmul + short.attention + short.head
    assert (short.matmul, short.head) == (long.matmul, long.head)
    assert long.attention == pytest.approx(2 * short.attention)


@settings(deadline=None, max_examples=30)
@given(architectures(), SEQ_LENS)
def test_causal_half_halves_the_attention_of_a_decoder(arch: Architecture, seq_len: int) -> None:
    full = model_flops_per_token(arch, seq_len)
    half = model_flops_per_token(arch, seq_len, causal_half=True)
    assert half.attention == pytest.approx(full.attention / 2)
    assert half.matmul == full.matmul


def test_causal_half_leaves_an_encoder_alone() -> None:
    arch = load_architecture("bert-large")
    assert model_flops_per_token(arch, 512, causal_half=True) == model_flops_per_token(arch, 512)


@settings(deadline=None)
@given(st.integers(1, 4096), st.integers(1, 4096))
def test_attended_keys_match_a_count_of_the_mask(seq_len: int, window: int) -> None:
    """Closed form against the sum over rows of a causal, windowed mask, up to the neglected half diagonal."""
    counted = sum(min(row + 1, window) for row in range(seq_len)) / seq_len
    assert attended_keys(seq_len, window=window, halved=True) == pytest.approx(counted, abs=0.5)
    assert attended_keys(seq_len, window=window, halved=False) == min(seq_len, window)
    assert attended_keys(seq_len, window=0, halved=False) == seq_len


def test_a_window_bounds_attention_and_does_nothing_to_short_sequences() -> None:
    windowed = load_architecture("mistral-7b")
    open_ended = windowed.model_copy(update={"sliding_window": 0})
    assert model_flops_per_token(windowed, 4096) == model_flops_per_token(open_ended, 4096)
    bounded = model_flops_per_token(windowed, 32768).attention
    assert bounded == model_flops_per_token(windowed, 4096).attention
    assert bounded == model_flops_per_token(open_ended, 32768).attention / 8


def test_an_encoder_decoder_spreads_the_encoder_over_decoder_tokens() -> None:
    """By hand for one layer each: hidden 8, one head of 8, MLP 2 x 8 x 16, 4 encoder and 2 decoder tokens."""
    arch = Architecture(
        name="toy",
        family="encoder-decoder",
        layers=1,
        decoder_layers=1,
        hidden=8,
        heads=1,
        kv_heads=1,
        head_dim=8,
        ffn_hidden=16,
        gated_mlp=False,
        vocab=10,
    )
    flops = model_flops_per_token(arch, 2, encoder_seq_len=4)
    self_attention, mlp = 4 * 64, 2 * 8 * 16
    encoder = 4 * (self_attention + mlp)
    decoder = 2 * (self_attention + mlp + 2 * 64) + 4 * 2 * 64  # cross: query and output here, key and value there
    assert flops.matmul == 6 * (encoder + decoder) / 2
    scores = 4 * 4 + 2 * 2 + 2 * 4  # query-key pairs: encoder, decoder, cross
    assert flops.attention == 3 * scores * (2 * 2 * 8) / 2
    assert flops.head == 6 * 80


def test_equal_lengths_are_the_default_of_an_encoder_decoder() -> None:
    arch = load_architecture("t5-small")
    assert model_flops_per_token(arch, 512) == model_flops_per_token(arch, 512, encoder_seq_len=512)
    assert model_flops_per_token(arch, 512, encoder_seq_len=1024).total > model_flops_per_token(arch, 512).total


def test_a_multi_token_prediction_module_costs_one_layer_one_projection_and_one_head() -> None:
    plain, with_module = (
        model_flops_per_token(load_architecture(name), 4096) for name in ("deepseek-v3", "deepseek-v3-mtp")
    )
    arch = load_architecture("deepseek-v3")
    assert with_module.head == pytest.approx(2 * plain.head)
    assert with_module.attention == pytest.approx(plain.attention * 62 / 61)
    # one expert layer of 61, of which three are dense: more than the mean of the layers' matmuls, less than twice it
    projection = 6 * 2 * arch.hidden**2
    layer = with_module.matmul - plain.matmul - projection
    assert 0.9 < layer / (plain.matmul / 61) < 1.1


def test_half_of_gpt_oss_attends_within_its_window() -> None:
    arch = load_architecture("gpt-oss-120b")
    expected = (attended_keys(4096, window=128, halved=True) + attended_keys(4096, window=0, halved=True)) / 2
    assert mean_attended_keys(arch, 4096, halved=True) == pytest.approx(expected)
    everywhere = arch.model_copy(update={"full_attention_every": 0})
    assert mean_attended_keys(everywhere, 4096, halved=True) == attended_keys(4096, window=128, halved=True)
