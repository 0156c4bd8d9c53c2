"""The networkx graph of one training step, unsharded: blocks of operations, and how often each block stands.

A block is what repeats: the embedding, one dense layer, one expert layer, one cross-attending layer, the head. Inside a
block the nodes are operations and the edges the order that data imposes.
"""

from dataclasses import dataclass
from enum import StrEnum

import networkx as nx

from glmplan.software.stack import Kernels
from glmplan.workload.attention import attention_operations
from glmplan.workload.embedding import embedding_operations, head_operations
from glmplan.workload.job import TrainingJob
from glmplan.workload.mlp import expert_operations, mlp_operations
from glmplan.workload.operation import Operation
from glmplan.workload.quantisation import job_quantisation, quantised
from glmplan.workload.selective_recompute import with_selective
from glmplan.workload.separate_projections import separated


class BlockKind(StrEnum):
    """What a block is, in the order of the forward pass."""

    EMBEDDING = "embedding"
    DENSE_LAYER = "dense_layer"
    EXPERT_LAYER = "expert_layer"
    CROSS_LAYER = "cross_layer"
    """A decoder layer that also attends to an encoder's output."""
    HEAD = "head"


LAYER_KINDS = (BlockKind.DENSE_LAYER, BlockKind.EXPERT_LAYER, BlockKind.CROSS_LAYER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of the model: its graph (node attribute ``operation``) for one sequence, and how often it stands."""

    kind: BlockKind
    count: int
    graph: "nx.DiGraph[str]"

    def operations(self) -> list[Operation]:
        """The operations in forward order."""
        return [self.graph.nodes[name]["operation"] for name in self.graph]


def workload_blocks(job: TrainingJob, kernels: Kernels) -> tuple[Block, ...]:
    """The blocks of one forward pass of one sequence, in forward order."""
    arch, seq_len = job.architecture, job.seq_len

    def layer(operations: list[Operation]) -> "nx.DiGraph[str]":
        narrow = [quantised(separated(operation, arch, kernels), job, kernels) for operation in operations]
        return _chain([with_selective(operation, arch, seq_len, kernels) for operation in narrow])

    encoder_or_decoder = attention_operations(arch, seq_len, kernels, causal=arch.family == "decoder")
    dense = encoder_or_decoder + mlp_operations(arch, seq_len, kernels)
    blocks = [Block(kind=BlockKind.EMBEDDING, count=1, graph=_chain(embedding_operations(arch, seq_len, kernels)))]
    # a multi-token-prediction module is one more layer, of the kind of the last
    expert_layers = arch.moe_layers + arch.mtp_expert_layers
    dense_layers = arch.layers + arch.mtp_layers - expert_layers
    if dense_layers:
        blocks.append(Block(kind=BlockKind.DENSE_LAYER, count=dense_layers, graph=layer(dense)))
    if expert_layers:
        narrow = job_quantisation(job, kernels) is not None
        experts = encoder_or_decoder + expert_operations(arch, seq_len, kernels, narrow=narrow)
        blocks.append(Block(kind=BlockKind.EXPERT_LAYER, count=expert_layers, graph=layer(experts)))
    if arch.decoder_layers:
        cross = attention_operations(arch, seq_len, kernels, causal=True)
        cross += attention_operations(arch, seq_len, kernels, causal=False, cross=True)
        cross += mlp_operations(arch, seq_len, kernels)
        blocks.append(Block(kind=BlockKind.CROSS_LAYER, count=arch.decoder_layers, graph=layer(cross)))
    blocks.append(Block(kind=BlockKind.HEAD, count=1, graph=_chain(head_operations(arch, seq_len, kernels))))
    return tuple(blocks)


def step_graph(job: TrainingJob, kernels: Kernels) -> "nx.DiGraph[str]":
    """The whole forward pass as one graph: blocks as nodes (attribute ``block``), edges in forward order."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    blocks = workload_blocks(job, kernels)
    for block in blocks:
        graph.add_node(str(block.kind), block=block)
    nx.add_path(graph, [str(block.kind) for block in blocks])
    return graph


def _chain(operations: list[Operation]) -> "nx.DiGraph[str]":
    """Operations one after the other, as one device runs them."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    for operation in operations:
        graph.add_node(operation.name, operation=operation)
    nx.add_path(graph, [operation.name for operation in operations])
    return graph
