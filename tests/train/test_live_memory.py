import pytest
import torch

from glmplan.layout.parallel_layout import ParallelLayout, Recompute, Sharding
from glmplan.train.batches import Batches
from glmplan.train.live_memory import LiveMemory
from glmplan.workload.job import TrainingJob
from tests.train.jobs import CPU, SEQ_LEN, SyntheticTokens, new_replica, step_bytes, tiny_job
from tests.train.worker_pool import WorkerPool

MIB = 2**20


def test_the_peak_counts_what_lives_at_the_same_time() -> None:
    already = torch.zeros(MIB, dtype=torch.uint8)
    with LiveMemory([already, already.view(2, -1)]) as counter:
        first = torch.zeros(2 * MIB, dtype=torch.uint8)
        view = first[:MIB]
        del first
        second = torch.zeros(3 * MIB, dtype=torch.uint8)
        del view
        third = torch.zeros(MIB, dtype=torch.uint8)
    assert counter.peak_bytes == 6 * MIB
    assert second.numel() + third.numel() == 4 * MIB


def test_resized_storage_is_counted_at_its_size() -> None:
    tensor = torch.zeros(4 * MIB, dtype=torch.uint8)
    with LiveMemory([tensor]) as counter:
        tensor.untyped_storage().resize_(0)
        other = torch.zeros(MIB, dtype=torch.uint8)
        tensor.untyped_storage().resize_(2 * MIB)
    assert counter.peak_bytes == 4 * MIB
    assert other.numel() == MIB


def test_the_patch_of_resizing_is_taken_back() -> None:
    before = torch.UntypedStorage.resize_
    with LiveMemory([]):
        pass
    assert torch.UntypedStorage.resize_ is before


def test_a_step_needs_state_gradients_and_activations(pool: WorkerPool) -> None:
    job = tiny_job(hidden=128, ffn_hidden=256, head_dim=16, layers=4)
    plain = pool.run(1, step_bytes, job, ParallelLayout(micro_batch=8))[0]
    full = pool.run(1, step_bytes, job, ParallelLayout(micro_batch=8, recompute=Recompute.FULL))[0]
    accumulated = pool.run(1, step_bytes, job, ParallelLayout(micro_batch=1, grad_accum=8))[0]
    sharded = max(
        pool.run(4, step_bytes, job, ParallelLayout(dp=4, micro_batch=2, sharding=Sharding.FSDP, shard_group=4))
    )
    parameters = 2 * 96 * 128 + 128 + 4 * (128 * 128 * 2 + 128 * 64 * 2 + 3 * 128 * 256 + 2 * 128)
    state = 16 * parameters  # fp32 parameters, gradients and two moments
    assert state < accumulated < plain
    assert state < full < plain
    assert state / 4 < sharded < plain / 2


@pytest.mark.parametrize("recompute", [Recompute.NONE, Recompute.FULL])
def test_the_count_agrees_with_the_allocators_own_record(recompute: Recompute, pool: WorkerPool) -> None:
    job = tiny_job(hidden=128, ffn_hidden=256, head_dim=16, layers=4)
    counted, recorded = pool.run(
        1, counted_and_recorded_bytes, job, ParallelLayout(micro_batch=8, recompute=recompute)
    )[0]
    assert counted == pytest.approx(recorded, rel=0.03)


def counted_and_recorded_bytes(job: TrainingJob, layout: ParallelLayout) -> tuple[int, int]:
    """Growth of memory in a forward and backward pass: by LiveMemory, and by torch's profiler."""
    replica = new_replica(job, layout)
    batches = Batches(source=SyntheticTokens(), seq_len=SEQ_LEN, layout=layout, data_rank=0, seed=0, device=CPU)
    micro_batch = batches.of_step(1)[0]

    def passes() -> None:
        loss = replica.loss(replica.model(micro_batch.tokens_BL), micro_batch.targets_BL)
        loss.backward()
        replica.optimizer.zero_grad()

    passes()
    counter = LiveMemory([*replica.model.parameters(), *replica.model.buffers()])
    held_bytes = counter.peak_bytes
    with counter:
        passes()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        passes()
    level = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            level += event.nbytes()
            peak = max(peak, level)
    return counter.peak_bytes - held_bytes, peak
