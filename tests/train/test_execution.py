"""Execution settings change how fast a step is, never what it computes."""

import pytest

from glmplan.layout.parallel_layout import ParallelLayout, Recompute, Sharding
from glmplan.plan.execution import Execution
from glmplan.train.batch_prefetch import PrefetchedBatches
from glmplan.train.batches import Batches
from tests.train.jobs import CPU, SEQ_LEN, SyntheticTokens, tiny_job, train
from tests.train.worker_pool import WorkerPool

FSDP = ParallelLayout(dp=2, micro_batch=2, grad_accum=2, sharding=Sharding.FSDP, shard_group=2)
CASES = {
    "buckets of two": (FSDP, Execution(layers_per_bucket=2)),
    "an uneven bucket": (FSDP, Execution(layers_per_bucket=3)),
    "two units ahead": (FSDP, Execution(prefetch_layers=2)),
    "kept gathered": (FSDP, Execution(reshard_after_forward=False)),
    "everything, recomputed": (
        FSDP.model_copy(update={"recompute": Recompute.FULL}),
        Execution(layers_per_bucket=2, prefetch_layers=1, reshard_after_forward=True),
    ),
    "replicated in buckets": (ParallelLayout(dp=2, micro_batch=4), Execution(layers_per_bucket=4)),
}


@pytest.fixture(scope="module")
def reference(pool: WorkerPool) -> list[tuple[float, float]]:
    history: list[tuple[float, float]] = pool.run(1, train, tiny_job(layers=4), ParallelLayout(micro_batch=8), steps=4)[
        0
    ]
    return history


@pytest.mark.parametrize("name", CASES)
def test_every_setting_trains_like_the_default(
    pool: WorkerPool, reference: list[tuple[float, float]], name: str
) -> None:
    layout, execution = CASES[name]
    for history in pool.run(2, train, tiny_job(layers=4), layout, steps=4, execution=execution):
        for (loss, norm), (expected_loss, expected_norm) in zip(history, reference, strict=True):
            assert loss == pytest.approx(expected_loss, rel=2e-6)
            assert norm == pytest.approx(expected_norm, rel=2e-5)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_read_ahead_batches_are_the_same_batches(threads: int) -> None:
    layout = ParallelLayout(micro_batch=2, grad_accum=2)
    batches = Batches(source=SyntheticTokens(), seq_len=SEQ_LEN, layout=layout, data_rank=0, seed=0, device=CPU)
    feed = PrefetchedBatches(batches, threads=threads, last_step=6)
    for step in range(2, 7):
        for read, expected in zip(feed.of_step(step), batches.of_step(step), strict=True):
            assert read.tokens_BL.equal(expected.tokens_BL)
    feed.close()


def test_a_label_names_only_what_differs() -> None:
    assert Execution().label() == ""
    assert Execution(compile_model=True, layers_per_bucket=2, loader_threads=1).label() == "compiled bucket2 loader1"
