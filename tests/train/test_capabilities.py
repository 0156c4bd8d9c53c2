from typing import Any

import pytest

from glmplan.architecture.transformer import LatentAttention, MixtureOfExperts
from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout, Sharding
from glmplan.precision import Precision
from glmplan.train.capabilities import check_supported, notes_on
from tests.train.jobs import tiny_job

MOE = MixtureOfExperts(experts=4, top_k=2, expert_ffn_hidden=16)
MLA = LatentAttention(kv_lora_rank=8, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=4)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (ParallelLayout(pp=2, micro_batch=8), "layout.pp: the trainer does not run pp 2"),
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
    ],
)
def test_a_model_it_cannot_run_is_refused_and_what_it_runs_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"{message}.*dense decoders"):
        check_supported(tiny_job(**changes), ParallelLayout(micro_batch=8))


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="does not run fp8; use fp32, tf32, bf16"):
        check_supported(tiny_job(Precision.FP8), ParallelLayout(micro_batch=8))


def test_the_mapping_of_zero_stages_is_told() -> None:
    assert "split as well" in notes_on(ParallelLayout(dp=2, micro_batch=4, sharding=Sharding.ZERO2))[0]
    assert notes_on(ParallelLayout(dp=2, micro_batch=4, sharding=Sharding.FSDP)) == []
