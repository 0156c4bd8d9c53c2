import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.train.batches import Batches, shuffled
from tests.train.jobs import CPU, SEQ_LEN, SyntheticTokens


def batches(layout: ParallelLayout, data_rank: int = 0, **changes: object) -> Batches:
    fields = {"source": SyntheticTokens(), "seq_len": SEQ_LEN, "seed": 0, "device": CPU} | changes
    return Batches(layout=layout, data_rank=data_rank, **fields)  # type: ignore[arg-type]


def global_batch(layout: ParallelLayout, step: int) -> torch.Tensor:
    parts = [batches(layout, rank).of_step(step) for rank in range(layout.dp)]
    return torch.cat([batch.tokens_BL for part in parts for batch in part])


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**40))
def test_a_shuffle_visits_everything_once(size: int, key: int) -> None:
    assert sorted(shuffled(position, size=size, key=key) for position in range(size)) == list(range(size))


def test_a_shuffle_depends_on_its_key() -> None:
    orders = {tuple(shuffled(position, size=50, key=key) for position in range(50)) for key in range(20)}
    assert len(orders) == 20


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]), st.integers(1, 40))
def test_every_layout_sees_the_same_global_batch(dp: int, micro_batch: int, step: int) -> None:
    layout = ParallelLayout(dp=dp, micro_batch=micro_batch, grad_accum=16 // (dp * micro_batch))
    one = ParallelLayout(micro_batch=16)
    assert torch.equal(global_batch(layout, step), global_batch(one, step))


def test_targets_are_the_tokens_that_follow() -> None:
    batch = batches(ParallelLayout(micro_batch=4)).of_step(1)[0]
    assert torch.equal(batch.tokens_BL[:, 1:], batch.targets_BL[:, :-1])


def test_an_epoch_sees_every_window_once_and_the_next_one_in_another_order() -> None:
    source = SyntheticTokens(num_tokens=8 * SEQ_LEN)
    steps = [batches(ParallelLayout(micro_batch=4), source=source).of_step(step)[0] for step in (1, 2, 3, 4)]
    rows = [tuple(row.tolist()) for batch in steps for row in batch.tokens_BL]
    windows = {tuple(source.window(index * SEQ_LEN, SEQ_LEN).tolist()) for index in range(8)}
    assert set(rows[:8]) == windows
    assert set(rows[8:]) == windows
    assert rows[:8] != rows[8:]


def test_data_shorter_than_a_sequence_wraps_around() -> None:
    source = SyntheticTokens(num_tokens=5)
    batch = batches(ParallelLayout(), source=source).of_step(1)[0]
    assert np.array_equal(batch.tokens_BL[0].numpy(), source.window(0, SEQ_LEN))
