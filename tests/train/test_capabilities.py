from typing import Any

import pytest

from glmplan.architecture.transformer import LatentAttention, MixtureOfExperts
from glmplan.errors import InputError
from glmplan.layout.parallel_layout import Offload, ParallelLayout, Schedule, Sharding
from glmplan.precision import Precision
from glmplan.train.capabilities import check_supported, notes_on
from tests.train.jobs import tiny_job

MOE = MixtureOfExperts(experts=4, top_k=2, expert_ffn_hidden=16)
MLA = LatentAttention(kv_lora_rank=8, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=4)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (ParallelLayout(pp=3, micro_batch=8), "layout.pp: 3 model chunks exceed the 2 layers"),
        (ParallelLayout(pp=2, micro_batch=8, schedule=Schedule.ZERO_BUBBLE_2P), "does not run zb-2p; use zb-h1"),
        (ParallelLayout(pp=2, micro_batch=8, schedule=Schedule.INTERLEAVED), "virtual_stages: 1 with pp 2"),
        (ParallelLayout(pp=2, micro_batch=8, stage_layers=(1, 2)), "2 chunks with 3 layers are not"),
        (ParallelLayout(pp=2, micro_batch=8, stage_recompute_layers=(1, 0)), "it needs recompute full"),
        (ParallelLayout(micro_batch=8, offload=Offload.OPTIMIZER), "layout.offload: the trainer does not do optimizer"),
        (
            ParallelLayout(pp=2, dp=2, micro_batch=4, sharding=Sharding.ZERO2, shard_group=2),
            "layout.sharding: zero2 does not go with pp 2",
        ),
        (ParallelLayout(cp=2, micro_batch=8), "layout.cp: the trainer does not run cp 2"),
        (ParallelLayout(dp=2, ep=2, micro_batch=4), "layout.ep: the trainer does not run ep 2"),
        (ParallelLayout(tp=8, micro_batch=8), "layout.tp: 8 does not divide kv_heads 4"),
        (ParallelLayout(tp=3, micro_batch=8), "layout.tp: 3 does not divide heads 8"),
        (ParallelLayout(dp=2, micro_batch=2), "= 4 sequences, but job.global_batch is 8"),
        (
            ParallelLayout(dp=4, micro_batch=2, sharding=Sharding.HSDP, shard_group=3),
            "layout.shard_group: 3 does not divide dp 4",
        ),
    ],
)
def test_a_layout_it_cannot_run_is_refused_in_one_line(layout: ParallelLayout, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_supported(tiny_job(), layout)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "encoder"}, "family encoder"),
        ({"moe": MOE}, "mixture of experts"),
        ({"mla": MLA}, "latent attention"),
        ({"relative_position_buckets": 32}, "relative position biases"),
        ({"token_types": 2}, "segment embeddings"),
        ({"head_dim": 5}, "odd head_dim"),
        ({"mtp_layers": 1}, "multi-token prediction"),
        ({"sliding_window": 32, "full_attention_every": 2}, "windows on some layers"),
        ({"clamped_activation": True}, "clamped activations"),
    ],
)
def test_a_model_it_cannot_run_is_refused_and_what_it_runs_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"{message}.*dense decoders"):
        check_supported(tiny_job(**changes), ParallelLayout(micro_batch=8))


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="does not run fp8; use fp32, tf32, bf16"):
        check_supported(tiny_job(Precision.FP8), ParallelLayout(micro_batch=8))


def test_uneven_rounds_of_micro_batches_are_refused() -> None:
    layout = ParallelLayout(pp=2, micro_batch=1, grad_accum=5, schedule=Schedule.ZERO_BUBBLE_H1)
    with pytest.raises(InputError, match=r"layout\.grad_accum: 5 micro-batches do not make 2 equal rounds"):
        check_supported(tiny_job(global_batch=5), layout)


def test_it_is_told_when_a_pipeline_has_too_few_micro_batches_to_alternate() -> None:
    assert "all forward passes come first" in notes_on(ParallelLayout(pp=4, micro_batch=4, grad_accum=2))[0]
    assert notes_on(ParallelLayout(pp=2, micro_batch=4, grad_accum=2)) == []


def test_the_mapping_of_zero_stages_is_told() -> None:
    assert "split as well" in notes_on(ParallelLayout(dp=2, micro_batch=4, sharding=Sharding.ZERO2))[0]
    assert notes_on(ParallelLayout(dp=2, micro_batch=4, sharding=Sharding.FSDP)) == []
