"""A saved state goes on exactly, whichever layout loads it."""

from pathlib import Path

import pytest

from glmplan.layout.parallel_layout import ParallelLayout, Sharding
from glmplan.precision import Precision
from tests.train.jobs import resume_from, save_after, tiny_job, train
from tests.train.worker_pool import WorkerPool

ONE = ParallelLayout(micro_batch=8)
FSDP_2 = ParallelLayout(dp=2, micro_batch=4, sharding=Sharding.FSDP, shard_group=2)
FSDP_4 = ParallelLayout(dp=4, micro_batch=2, sharding=Sharding.FSDP, shard_group=4)
TP_2 = ParallelLayout(tp=2, micro_batch=8, sequence_parallel=True)
TP_2_FSDP_2 = ParallelLayout(tp=2, dp=2, micro_batch=4, sharding=Sharding.FSDP, shard_group=2)
REPLICATED_2 = ParallelLayout(dp=2, micro_batch=4)


def test_resuming_on_the_same_layout_is_exact(pool: WorkerPool, tmp_path: Path) -> None:
    uninterrupted = pool.run(2, train, tiny_job(), FSDP_2, steps=6)[0]
    first = pool.run(2, save_after, tiny_job(), FSDP_2, tmp_path, 3)[0]
    second = pool.run(2, resume_from, tiny_job(), FSDP_2, tmp_path, 3, 6)[0]
    assert first + second == uninterrupted


@pytest.mark.parametrize(
    ("writer", "reader"),
    [(ONE, TP_2_FSDP_2), (FSDP_2, FSDP_4), (FSDP_2, TP_2), (TP_2, FSDP_2), (TP_2_FSDP_2, ONE), (REPLICATED_2, ONE)],
    ids=lambda layout: layout.label(),
)
def test_another_layout_goes_on_with_the_same_losses(
    pool: WorkerPool, tmp_path: Path, writer: ParallelLayout, reader: ParallelLayout
) -> None:
    expected = pool.run(1, train, tiny_job(), ONE, steps=6)[0]
    pool.run(writer.world_size, save_after, tiny_job(), writer, tmp_path, 3)
    history = pool.run(reader.world_size, resume_from, tiny_job(), reader, tmp_path, 3, 6)[0]
    for (loss, norm), (expected_loss, expected_norm) in zip(history, expected[3:], strict=True):
        assert loss == pytest.approx(expected_loss, rel=2e-6)
        assert norm == pytest.approx(expected_norm, rel=2e-5)


def test_tied_weights_and_bf16_survive_a_change_of_layout(pool: WorkerPool, tmp_path: Path) -> None:
    job = tiny_job(Precision.BF16, tied_embeddings=True)
    expected = pool.run(2, train, job, FSDP_2, steps=6)[0]
    pool.run(2, save_after, job, FSDP_2, tmp_path, 3)
    history = pool.run(4, resume_from, job, TP_2_FSDP_2, tmp_path, 3, 6)[0]
    assert [loss for loss, _ in history] == pytest.approx([loss for loss, _ in expected[3:]], rel=2e-3)


def test_a_checkpoint_of_another_model_is_refused(pool: WorkerPool, tmp_path: Path) -> None:
    pool.run(1, save_after, tiny_job(), ONE, tmp_path, 1)
    with pytest.raises(RuntimeError, match=r"InputError: .*another model: ffn_hidden is 64, the plan has 128"):
        pool.run(1, resume_from, tiny_job(ffn_hidden=128), ONE, tmp_path, 1, 2)


def test_a_damaged_checkpoint_is_an_input_error(pool: WorkerPool, tmp_path: Path) -> None:
    pool.run(1, save_after, tiny_job(), ONE, tmp_path, 1)
    (tmp_path / "checkpoints" / "step-1" / "__0_0.distcp").unlink()
    with pytest.raises(RuntimeError, match=r"InputError: .*step-1: the checkpoint cannot be read"):
        pool.run(1, resume_from, tiny_job(), ONE, tmp_path, 1, 2)


@pytest.mark.parametrize("obstacle", ["checkpoints", "checkpoints/LATEST/x"])
def test_a_checkpoint_that_cannot_be_written_is_an_input_error_on_every_rank(
    pool: WorkerPool, tmp_path: Path, obstacle: str
) -> None:
    (tmp_path / obstacle).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / obstacle).touch()
    with pytest.raises(RuntimeError, match=r"InputError: .*step-1.part: the checkpoint cannot be written"):
        pool.run(2, save_after, tiny_job(), FSDP_2, tmp_path, 1)
    assert not list(tmp_path.rglob("*.part"))
