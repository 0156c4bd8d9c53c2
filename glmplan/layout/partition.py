"""Workload blocks x layouts -> what one rank computes, keeps and sends for one micro-batch of one block.

The result is again a networkx graph; its node attributes are records whose numbers are arrays over the layouts.
"""

from dataclasses import dataclass, replace

import networkx as nx
import numpy as np

from glmplan.architecture.transformer import Architecture
from glmplan.layout import context_parallel, expert_parallel, tensor_parallel
from glmplan.layout.communication import Communication
from glmplan.layout.parallel_layout import LayoutTable
from glmplan.precision import BYTES_PER_ELEMENT, activation_precision
from glmplan.software.experts import ExpertKernels
from glmplan.workload.graph import Block
from glmplan.workload.job import TrainingJob
from glmplan.workload.operation import Attention, Kept, Matmul, Number, Operation, Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class RankBlock:
    """One block on one rank, for one micro-batch, over the layouts of a table."""

    block: Block
    graph: "nx.DiGraph[str]"
    """Node attribute ``work``: an Operation or a Communication."""
    kept_bytes: Number
    """Kept for the backward pass without recomputation."""
    selective_bytes: Number
    """Kept with selective recomputation."""
    input_bytes: Number
    """The block's input: all that full recomputation keeps."""


# Columns of a LayoutTable that change what one micro-batch of one block computes, keeps or sends.
BLOCK_COLUMNS = ("tp", "cp", "context", "ep", "expert_tp", "micro_batch", "sequence_parallel")


def element_bytes_of(job: TrainingJob) -> float:
    """Bytes of one activation element."""
    return BYTES_PER_ELEMENT[activation_precision(job.precision)]


def partition_block(
    block: Block,
    table: LayoutTable,
    job: TrainingJob,
    *,
    saves_gathered_input: bool,
    experts: ExpertKernels | None = None,
) -> RankBlock:
    """What each layout of ``table`` makes of ``block`` on one rank."""
    element_bytes = element_bytes_of(job)
    micro_batch, cp = table.micro_batch.astype(float), table.cp.astype(float)
    tokens = micro_batch * job.seq_len / cp
    arch = job.architecture
    activation_bytes = tokens * arch.hidden * element_bytes
    top_k = arch.moe.top_k if arch.moe else 1
    experts = experts or ExpertKernels()
    sent_bytes = activation_bytes / tensor_parallel.sequence_divisor(table)
    fullest: Number = 1.0
    if arch.moe:
        fullest = expert_parallel.fullest_rank(arch.moe, table, tokens, experts)
    graph: nx.DiGraph[str] = nx.DiGraph()
    scale = micro_batch / cp
    kept_bytes: Number = np.zeros(len(table))
    selective_bytes: Number = np.zeros(len(table))
    entry: dict[str, str] = {}
    exit_: dict[str, str] = {}
    for operation in block.operations():
        for kept in operation.kept:
            share = expert_parallel.kept_share(operation, kept, fullest)
            kept_bytes = kept_bytes + share * _bytes(kept, table, element_bytes, saves_gathered_input)
        for kept in operation.kept_selectively:
            share = expert_parallel.kept_share(operation, kept, fullest)
            selective_bytes = selective_bytes + share * _bytes(kept, table, element_bytes, saves_gathered_input)
        split = _split(operation, table, arch, fullest)
        copies = top_k if operation.name.startswith("expert_") else 1
        exchanged = tokens * element_bytes * copies * tensor_parallel.exchanged_width(operation, arch.hidden)
        around: list[Operation | Communication] = []
        around += tensor_parallel.tensor_communications(operation, table, exchanged)
        if isinstance(split, Attention):
            around += context_parallel.context_work(split, table, arch.kv_heads, element_bytes)
        if arch.moe and operation.name in ("permute", "unpermute"):
            around += expert_parallel.expert_communications(
                operation.name, table, sent_bytes, arch.moe, experts, fullest
            )
        entry[operation.name], exit_[operation.name] = _insert(graph, split, around)
    for before, after in block.graph.edges:
        graph.add_edge(exit_[before], entry[after])
    return RankBlock(
        block=block,
        graph=graph,
        kept_bytes=kept_bytes * scale,
        selective_bytes=selective_bytes * scale,
        input_bytes=activation_bytes / tensor_parallel.sequence_divisor(table),
    )


def _bytes(kept: Kept, table: LayoutTable, element_bytes: float, saves_gathered_input: bool) -> Number:
    """Bytes of ``kept`` for one sequence on one tensor-parallel rank."""
    size = kept.elements * element_bytes + kept.mask_elements + kept.fp32_elements * 4.0
    divisor = tensor_parallel.kept_divisor(kept, table, saves_gathered_input)
    return size / np.minimum(divisor, kept.most_ranks)


def _split(operation: Operation, table: LayoutTable, arch: Architecture, fullest: Number) -> Operation:
    """One rank's part of ``operation`` for one micro-batch, one technique after the other."""
    operation = _times_micro_batch(operation, table)
    operation = tensor_parallel.split_operation(operation, table)
    operation = context_parallel.split_operation(operation, table, arch.kv_heads)
    return expert_parallel.split_operation(operation, table, fullest, arch.moe.experts if arch.moe else 1)


def _times_micro_batch(operation: Operation, table: LayoutTable) -> Operation:
    sequences = table.micro_batch.astype(float)
    match operation:
        case Attention():
            return replace(operation, sequences=operation.sequences * sequences)
        case Matmul():
            return replace(operation, tokens=operation.tokens * sequences)
        case Stream():
            return replace(
                operation,
                forward_elements=operation.forward_elements * sequences,
                backward_elements=operation.backward_elements * sequences,
            )


def _insert(graph: "nx.DiGraph[str]", operation: Operation, around: list[Operation | Communication]) -> tuple[str, str]:
    """Adds the operation with its collectives; inputs are gathered before it, outputs reduced after it."""
    first = [c.name.startswith(f"{operation.name}_input") or "_keys" in c.name for c in around]
    before = [c for c, is_first in zip(around, first, strict=True) if is_first]
    after = [c for c, is_first in zip(around, first, strict=True) if not is_first]
    chain: list[Operation | Communication] = [*before, operation, *after]
    for work in chain:
        graph.add_node(work.name, work=work)
    nx.add_path(graph, [work.name for work in chain])
    return chain[0].name, chain[-1].name
