"""Whatever the layout, training is the same: losses and gradient norms equal those of one process."""

import pytest

from glmplan.layout.parallel_layout import ParallelLayout, Recompute, Sharding
from glmplan.precision import Precision
from tests.train.jobs import tiny_job, train
from tests.train.worker_pool import WorkerPool

LAYOUTS = {
    "gradient accumulation": ParallelLayout(micro_batch=2, grad_accum=4),
    "full recomputation": ParallelLayout(micro_batch=8, recompute=Recompute.FULL),
    "selective recomputation": ParallelLayout(micro_batch=8, recompute=Recompute.SELECTIVE),
    "replicated 2": ParallelLayout(dp=2, micro_batch=4),
    "replicated 2, accumulating": ParallelLayout(dp=2, micro_batch=1, grad_accum=4),
    "zero1 2": ParallelLayout(dp=2, micro_batch=4, sharding=Sharding.ZERO1, shard_group=2),
    "fsdp 2": ParallelLayout(dp=2, micro_batch=4, sharding=Sharding.FSDP, shard_group=2),
    "fsdp 2, full, accumulating": ParallelLayout(
        dp=2, micro_batch=2, grad_accum=2, sharding=Sharding.FSDP, shard_group=2, recompute=Recompute.FULL
    ),
    "fsdp 4": ParallelLayout(dp=4, micro_batch=2, sharding=Sharding.FSDP, shard_group=4),
    "hsdp 2x2, accumulating": ParallelLayout(dp=4, micro_batch=1, grad_accum=2, sharding=Sharding.HSDP, shard_group=2),
    "tp 2": ParallelLayout(tp=2, micro_batch=8),
    "tp 2, sequence": ParallelLayout(tp=2, micro_batch=8, sequence_parallel=True),
    "tp 2, sequence, full": ParallelLayout(tp=2, micro_batch=8, sequence_parallel=True, recompute=Recompute.FULL),
    "tp 2, selective": ParallelLayout(tp=2, micro_batch=8, recompute=Recompute.SELECTIVE),
    "tp 4": ParallelLayout(tp=4, micro_batch=4, grad_accum=2),
    "tp 4, sequence": ParallelLayout(tp=4, micro_batch=8, sequence_parallel=True),
    "tp 2 x replicated 2": ParallelLayout(tp=2, dp=2, micro_batch=4),
    "tp 2 x fsdp 2": ParallelLayout(tp=2, dp=2, micro_batch=4, sharding=Sharding.FSDP, shard_group=2),
    "tp 2 x fsdp 2, sequence, full": ParallelLayout(
        tp=2,
        dp=2,
        micro_batch=2,
        grad_accum=2,
        sharding=Sharding.FSDP,
        shard_group=2,
        sequence_parallel=True,
        recompute=Recompute.FULL,
    ),
}


@pytest.fixture(scope="module")
def reference(pool: WorkerPool) -> list[tuple[float, float]]:
    return pool.run(1, train, tiny_job(), ParallelLayout(micro_batch=8))[0]


def test_one_process_learns(reference: list[tuple[float, float]]) -> None:
    losses = [loss for loss, _ in reference]
    assert losses[-1] < losses[0] - 0.02


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_trains_like_one_process(
    pool: WorkerPool, reference: list[tuple[float, float]], name: str
) -> None:
    layout = LAYOUTS[name]
    histories = pool.run(layout.world_size, train, tiny_job(), layout)
    for history in histories:
        for (loss, norm), (expected_loss, expected_norm) in zip(history, reference, strict=True):
            assert loss == pytest.approx(expected_loss, rel=2e-6)
            assert norm == pytest.approx(expected_norm, rel=2e-5)


SHAPES = {
    "GPT-2": {
        "norm": "layer",
        "gated_mlp": False,
        "learned_positions": 32,
        "attention_bias": True,
        "output_bias": True,
        "mlp_bias": True,
        "tied_embeddings": True,
        "kv_heads": 8,
    },
    "Qwen3, odd vocabulary": {"qk_norm": True, "vocab": 97, "head_dim": 8},
    "GLM-4, sandwich norms": {"post_norms": True, "attention_bias": True},
    "sliding window, embedding norm": {"sliding_window": 5, "embedding_norm": True, "final_norm": False},
}
SPLITS = {
    "fsdp 2": LAYOUTS["fsdp 2"],
    "tp 2": LAYOUTS["tp 2"],
    "tp 2 x fsdp 2, sequence, full": LAYOUTS["tp 2 x fsdp 2, sequence, full"],
}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_trains_like_one_process(pool: WorkerPool, shape: str, split: str) -> None:
    job, layout = tiny_job(**SHAPES[shape]), SPLITS[split]
    expected = pool.run(1, train, job, ParallelLayout(micro_batch=8), steps=4)[0]
    history = pool.run(layout.world_size, train, job, layout, steps=4)[0]
    for (loss, norm), (expected_loss, expected_norm) in zip(history, expected, strict=True):
        assert loss == pytest.approx(expected_loss, rel=2e-6)
        assert norm == pytest.approx(expected_norm, rel=2e-5)


@pytest.mark.parametrize("name", ["fsdp 2", "tp 2 x fsdp 2", "tp 2, sequence"])
def test_bf16_stays_close_to_fp32(pool: WorkerPool, reference: list[tuple[float, float]], name: str) -> None:
    layout = LAYOUTS[name]
    history = pool.run(layout.world_size, train, tiny_job(Precision.BF16), layout)[0]
    assert [loss for loss, _ in history] == pytest.approx([loss for loss, _ in reference], rel=2e-3)


def test_compiled_blocks_compute_the_same(pool: WorkerPool, reference: list[tuple[float, float]]) -> None:
    history = pool.run(2, train, tiny_job(), LAYOUTS["fsdp 2"], steps=3, compile_backend="aot_eager")[0]
    assert [loss for loss, _ in history] == pytest.approx([loss for loss, _ in reference[:3]], rel=2e-6)
