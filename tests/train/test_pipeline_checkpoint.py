"""What a pipeline saves goes on elsewhere, and what others save goes on in a pipeline."""

from pathlib import Path

import pytest

from glmplan.layout.parallel_layout import ParallelLayout, Schedule, Sharding
from tests.train.jobs import resume_from, save_after, tiny_job, train
from tests.train.worker_pool import WorkerPool

ONE = ParallelLayout(micro_batch=8)
PP_2 = ParallelLayout(pp=2, micro_batch=2, grad_accum=4)
PP_4 = ParallelLayout(pp=4, micro_batch=2, grad_accum=4)
INTERLEAVED = PP_2.model_copy(update={"virtual_stages": 2, "schedule": Schedule.INTERLEAVED})
FSDP_2 = ParallelLayout(dp=2, micro_batch=4, sharding=Sharding.FSDP, shard_group=2)
REPLICATED_2 = ParallelLayout(dp=2, micro_batch=4)
PP_2_FSDP_2 = ParallelLayout(pp=2, dp=2, micro_batch=1, grad_accum=4, sharding=Sharding.FSDP, shard_group=2)
PP_2_TP_2 = ParallelLayout(pp=2, tp=2, micro_batch=2, grad_accum=4, sequence_parallel=True)


@pytest.mark.parametrize(
    ("writer", "reader", "tied"),
    [
        (PP_2, REPLICATED_2, False),
        (REPLICATED_2, PP_2, True),
        (PP_2_FSDP_2, ONE, True),
        (FSDP_2, PP_2_TP_2, False),
        (PP_2_TP_2, PP_4, True),
        (PP_4, INTERLEAVED, False),
        (INTERLEAVED, FSDP_2, True),
    ],
)
def test_another_layout_goes_on_with_the_same_losses(
    pool: WorkerPool, tmp_path: Path, writer: ParallelLayout, reader: ParallelLayout, tied: bool
) -> None:
    job = tiny_job(layers=4, tied_embeddings=tied)
    expected = pool.run(1, train, job, ONE, steps=5)[0]
    pool.run(writer.world_size, save_after, job, writer, tmp_path, 3)
    history = pool.run(reader.world_size, resume_from, job, reader, tmp_path, 3, 5)[0]
    for (loss, norm), (expected_loss, expected_norm) in zip(history, expected[3:], strict=True):
        assert loss == pytest.approx(expected_loss, rel=2e-6)
        assert norm == pytest.approx(expected_norm, rel=2e-5)


def test_resuming_on_the_same_pipeline_is_exact(pool: WorkerPool, tmp_path: Path) -> None:
    job = tiny_job(layers=4)
    uninterrupted = pool.run(2, train, job, PP_2, steps=5)[0]
    first = pool.run(2, save_after, job, PP_2, tmp_path, 3)[0]
    assert first + pool.run(2, resume_from, job, PP_2, tmp_path, 3, 5)[0] == uninterrupted
