"""Stages, micro-batches in flight and the bubble, against published formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Schedule
from glmplan.layout.pipeline_parallel import bubble, in_flight, stage_transfers
from glmplan.layout.stages import FIRST, INNER, LAST, split_into_stages
from glmplan.software.stack import Kernels
from glmplan.workload.graph import LAYER_KINDS, BlockKind, workload_blocks
from tests.small_jobs import job_of, model

FLASH = Kernels(attention="flash")


def held(layout: ParallelLayout, position: float) -> float:
    return float(in_flight(LayoutTable.of(layout), np.array([position])).item())


@settings(max_examples=60)
@given(p=st.integers(1, 32), m=st.integers(1, 64), data=st.data())
def test_1f1b_holds_what_remains_of_the_pipeline(p: int, m: int, data: st.DataObject) -> None:
    """Narayanan 2021 (arXiv:2104.04473, section 2.2.1): at most p micro-batches in flight, fewer on later stages."""
    i = data.draw(st.integers(0, p - 1))
    assert held(ParallelLayout(pp=p, grad_accum=m), i) == min(p - i, m)


@given(p=st.integers(1, 32), m=st.integers(1, 64))
def test_gpipe_holds_every_micro_batch(p: int, m: int) -> None:
    """Huang 2019 (arXiv:1811.06965, section 2.3)."""
    assert held(ParallelLayout(pp=p, grad_accum=m, schedule=Schedule.GPIPE), 0) == m


@given(p=st.integers(2, 32), v=st.integers(2, 8), m=st.integers(1, 8))
def test_interleaving_holds_one_plus_p_minus_1_over_pv_of_the_layers(p: int, v: int, m: int) -> None:
    """Korthikanti 2022 (arXiv:2205.05198, section 4.2.3): L (1 + (p - 1) / (p v)) layers on the first stage."""
    layout = ParallelLayout(pp=p, virtual_stages=v, grad_accum=p * m, schedule=Schedule.INTERLEAVED)
    layers_per_stage = 1 / p
    assert held(layout, 0) * layers_per_stage == pytest.approx(min(1 + (p - 1) / (p * v), m))


@given(p=st.integers(2, 32), v=st.integers(1, 8))
def test_interleaving_divides_the_bubble(p: int, v: int) -> None:
    """Narayanan 2021, section 2.2.2: the bubble shrinks by the number of chunks."""
    schedule = Schedule.INTERLEAVED if v > 1 else Schedule.ONE_F_ONE_B
    layout = ParallelLayout(pp=p, virtual_stages=v, grad_accum=p, schedule=schedule)
    assert bubble(LayoutTable.of(layout)).factor(np.array([0.3])).item() == pytest.approx(1 / v)


@settings(max_examples=80)
@given(layers=st.integers(1, 60), data=st.data())
def test_stages_hold_all_layers_and_differ_by_one_at_most(layers: int, data: st.DataObject) -> None:
    pp = data.draw(st.integers(1, layers))
    stages = split_into_stages(
        workload_blocks(job_of(model(layers=layers)), FLASH), LayoutTable.of(ParallelLayout(pp=pp))
    )
    first, inner, last = stages.counts[BlockKind.DENSE_LAYER][:, 0]
    longer = min(layers % pp, max(pp - 2, 0))  # the remainder falls on inner stages first
    inner_layers = (pp - 2) * (layers // pp) + longer if pp > 2 else 0
    assert first + inner_layers + (last if pp > 1 else 0) == layers
    present = [value for value, exists in zip((first, inner, last), stages.exists[:, 0], strict=True) if exists]
    assert max(present) - min(present) <= 1
    assert last <= first
    assert stages.position[:, 0].tolist() == [0, min(1, pp - 1), pp - 1]


@pytest.mark.parametrize("kind", ["dense", "experts", "latent", "encoder-decoder"])
@pytest.mark.parametrize("pp", [1, 2, 3])
def test_up_to_three_stages_hold_every_block_of_the_model(kind: str, pp: int) -> None:
    arch = model(kind)
    blocks = workload_blocks(job_of(arch), FLASH)
    stages = split_into_stages(blocks, LayoutTable.of(ParallelLayout(pp=pp)))
    for block in blocks:
        counts = np.where(stages.exists, stages.counts[block.kind], 0.0)[:, 0]
        assert counts.sum() == block.count, block.kind


def test_the_ends_of_the_model_are_on_the_ends_of_the_pipeline() -> None:
    blocks = workload_blocks(job_of(), FLASH)
    stages = split_into_stages(blocks, LayoutTable.of(ParallelLayout(), ParallelLayout(pp=4)))
    assert stages.counts[BlockKind.EMBEDDING][:, 1].tolist() == [1, 0, 0]
    assert stages.counts[BlockKind.HEAD][:, 1].tolist() == [0, 0, 1]
    assert stages.counts[BlockKind.HEAD][FIRST, 0] == 1
    assert not stages.exists[INNER, 0]
    assert not stages.exists[LAST, 0]
    assert any(kind in LAYER_KINDS for kind in stages.counts)


@given(p=st.integers(2, 16), v=st.integers(1, 4), m=st.integers(1, 16))
def test_a_stage_receives_activations_and_gradients_of_each_chunk_and_micro_batch(p: int, v: int, m: int) -> None:
    layout = ParallelLayout(pp=p, virtual_stages=v, grad_accum=m, dp=2, tp=2)
    message, gathered = stage_transfers(LayoutTable.of(layout), np.array([100.0]), split=False)
    assert np.asarray(message.count).item() == 2 * m * v
    assert np.asarray(message.bytes).item() == 100.0
    assert np.asarray(message.group.ranks).item() == 2
    assert np.asarray(message.group.stride).item() == 4
    assert np.asarray(gathered.bytes).item() == 0.0
    alone = stage_transfers(LayoutTable.of(ParallelLayout()), np.array([100.0]), split=False)
    assert all(np.asarray(part.bytes).item() == 0.0 for part in alone)


@given(tp=st.sampled_from([1, 2, 4, 8]), sequence_parallel=st.booleans())
def test_a_split_transfer_sends_each_byte_once_and_gathers_it_inside_the_node(tp: int, sequence_parallel: bool) -> None:
    """Narayanan 2021 (arXiv:2104.04473, section 4.1): 1/t of the tensor over the network, then an all-gather."""
    layout = ParallelLayout(tp=tp, pp=2, sequence_parallel=sequence_parallel)
    message, gathered = stage_transfers(LayoutTable.of(layout), np.array([800.0]), split=True)
    shares = 1 if sequence_parallel else tp
    assert np.asarray(message.bytes).item() * shares == pytest.approx(800.0)
    assert np.asarray(gathered.bytes).item() == (800.0 if shares > 1 else 0.0)
    assert np.asarray(gathered.group.ranks).item() == tp


def test_zero_bubble_schedules_shrink_the_bubble_by_what_weight_gradients_fill() -> None:
    """Qi 2023 (arXiv:2401.10241, table 1) with F = B = W: H1 leaves a third of 1F1B's bubble, H2 none."""
    third = np.array([1 / 3])
    h1 = LayoutTable.of(ParallelLayout(pp=4, grad_accum=8, schedule=Schedule.ZERO_BUBBLE_H1))
    h2 = LayoutTable.of(ParallelLayout(pp=4, grad_accum=7, schedule=Schedule.ZERO_BUBBLE_2P))
    assert bubble(h1).factor(third).item() == pytest.approx(1 / 3)
    assert bubble(h2).factor(third).item() == pytest.approx(0.0)


def test_one_micro_batch_leaves_nothing_to_fill_a_zero_bubble_with() -> None:
    """With m = 1 a step takes p (F + B) + W: the bubble is (p - 1)(F + B), two thirds of 1F1B's when F = B = W."""
    for schedule in (Schedule.ZERO_BUBBLE_H1, Schedule.ZERO_BUBBLE_2P):
        table = LayoutTable.of(ParallelLayout(pp=4, grad_accum=1, schedule=schedule))
        assert bubble(table).factor(np.array([1 / 3])).item() == pytest.approx(2 / 3)
