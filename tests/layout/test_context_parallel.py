"""Context parallelism: what each kind computes, sends and hides; nothing is lost between ranks."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmplan.layout.communication import Collective, Communication, Purpose
from glmplan.layout.parallel_layout import CONTEXT_KINDS, ContextKind, LayoutTable, ParallelLayout
from glmplan.layout.partition import partition_block
from glmplan.software.stack import Kernels
from glmplan.workload.graph import LAYER_KINDS, workload_blocks
from glmplan.workload.operation import Attention
from tests.small_jobs import job_of, model

JOB = job_of(model(layers=2, hidden=512, heads=16, kv_heads=8, ffn_hidden=1024), seq_len=4096)
KINDS = st.sampled_from(CONTEXT_KINDS)


def on_rank(layout: ParallelLayout) -> "nx.DiGraph[str]":
    """The graph of one layer on one rank."""
    block = next(b for b in workload_blocks(JOB, Kernels(attention="flash")) if b.kind in LAYER_KINDS)
    return partition_block(block, LayoutTable.of(layout), JOB, saves_gathered_input=False).graph


def exchanges(layout: ParallelLayout) -> list[Communication]:
    """Its context-parallel messages that are not empty."""
    works = nx.get_node_attributes(on_rank(layout), "work").values()
    found = [work for work in works if isinstance(work, Communication) and work.purpose is Purpose.CONTEXT]
    return [m for m in found if np.max(m.bytes) > 0 and np.max(m.group.ranks) > 1]


def attention_of(layout: ParallelLayout) -> Attention:
    """The attention of one layer on one rank."""
    works = nx.get_node_attributes(on_rank(layout), "work").values()
    return next(work for work in works if isinstance(work, Attention))


@given(kind=KINDS, cp=st.sampled_from([1, 2, 4, 8]))
def test_every_kind_divides_attention_evenly(kind: ContextKind, cp: int) -> None:
    whole = float(np.max(attention_of(ParallelLayout()).flops))
    part = float(np.max(attention_of(ParallelLayout(cp=cp, context=kind)).flops))
    assert part * cp == pytest.approx(whole)


@given(kind=KINDS)
def test_a_degree_of_one_exchanges_nothing(kind: ContextKind) -> None:
    assert exchanges(ParallelLayout(context=kind)) == []


def test_a_ring_moves_all_keys_and_values_beside_all_steps_but_its_own() -> None:
    """Liu 2023 (arXiv:2310.01889, section 3): of cp steps the first works on the rank's own block."""
    messages = exchanges(ParallelLayout(cp=4, context=ContextKind.RING))
    keys_and_values = 2 * 8 * 32 * 4096 * 2  # heads x width x tokens x bytes
    assert [m.collective for m in messages].count(Collective.ALL_GATHER) == 2
    for message in messages:
        assert np.max(message.bytes) == keys_and_values
        assert message.beside_attention is not None
        assert np.max(message.beside_attention) == pytest.approx(3 / 4)


@pytest.mark.parametrize(("kind", "beside"), [(ContextKind.ALL_GATHER, 0.0), (ContextKind.GATHERED_BLOCKS, 0.25)])
def test_gathers_hide_behind_nothing_or_the_first_block(kind: ContextKind, beside: float) -> None:
    """Llama 3 (arXiv:2407.21783, section 3.3.2) waits for all keys; torch starts on the rank's own."""
    for message in exchanges(ParallelLayout(cp=4, context=kind)):
        assert message.beside_attention is not None
        assert np.max(message.beside_attention) == pytest.approx(beside)


def test_an_all_to_all_sends_less_the_more_ranks_share_a_sequence() -> None:
    """Jacobs 2023 (arXiv:2309.14509, section 3.1): a rank's messages shrink with the number of ranks."""
    sent = {
        cp: sum(np.max(m.bytes) for m in exchanges(ParallelLayout(cp=cp, context=ContextKind.ALL_TO_ALL)))
        for cp in (2, 8)
    }
    assert sent[2] == pytest.approx(4 * sent[8])
    both_ways = 2 * (16 + 2 * 8 + 16) * 32 * 4096 / 2 * 2  # q, k, v there, output back; gradients likewise
    assert sent[2] == pytest.approx(both_ways)


def test_a_hierarchy_trades_heads_among_neighbours_and_rings_between_them() -> None:
    layout = ParallelLayout(
        tp=2, cp=8, context=ContextKind.HIERARCHICAL
    )  # four key heads a rank: groups of 4, ring of 2
    groups = {(m.collective, float(np.max(m.group.ranks)), float(np.max(m.group.stride))) for m in exchanges(layout)}
    assert (Collective.ALL_TO_ALL, 4.0, 2.0) in groups
    assert (Collective.ALL_GATHER, 2.0, 8.0) in groups


def test_only_kinds_that_work_block_by_block_merge_partial_results() -> None:
    def merged(kind: ContextKind) -> float:
        works = nx.get_node_attributes(on_rank(ParallelLayout(cp=4, context=kind)), "work")
        return float(np.max(next(work for name, work in works.items() if name.endswith("merging")).forward_elements))

    output = 16 * 32 * 4096 / 4
    assert merged(ContextKind.RING) == pytest.approx(3 * output * (1 + 0.75 * 3))
    assert merged(ContextKind.GATHERED_BLOCKS) > merged(ContextKind.RING)
    assert merged(ContextKind.ALL_GATHER) == merged(ContextKind.ALL_TO_ALL) == 0.0
