"""Context parallelism: each rank holds a part of every sequence; keys and values, or heads, travel around attention.

Ranks hold two chunks of each sequence, one from the front and its mirror from the back, so that causal attention loads
all of them alike (Llama 3, arXiv:2407.21783, section 3.3.2). ``layout.context`` says what travels: see ``ContextKind``.
A ring is cut into as many steps as it has ranks; the block of the next step travels while attention works on this one
(Liu 2023, arXiv:2310.01889, section 3).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from glmplan.layout.communication import Collective, Communication, Group, Purpose
from glmplan.layout.parallel_layout import CONTEXT_KINDS, ContextKind, LayoutTable
from glmplan.workload.operation import Attention, Matmul, Number, Operation, Region, Stream

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Merging:
    """Elements read and written for each element of one step's result, when it is added to those before."""

    output: float
    query_gradient: float
    key_gradient: float


FUSED_MERGING = Merging(output=3.0, query_gradient=3.0, key_gradient=3.0)
"""Read the part, read and write the sum: Transformer Engine (attention/context_parallel.py, output correction)."""
EAGER_MERGING = Merging(output=19.0, query_gradient=5.0, key_gradient=5.0)
"""The same by PyTorch's own operators in fp32, four of them forward (torch context_parallel, _SDPAMerger)."""
MEAN_STEP = 0.75
"""Share of a rank's queries (and of its keys) that a step after the first works on: half or all, by turns."""


def _is(table: LayoutTable, *kinds: ContextKind) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.isin(table.context, [CONTEXT_KINDS.index(kind) for kind in kinds])


def head_ranks(table: LayoutTable, kv_heads: int) -> Floats:
    """Ranks that trade their sequences for heads: all, or as many as divide a rank's key heads evenly; 1 in a ring."""
    shared = np.gcd(table.cp, np.maximum(kv_heads // table.tp, 1))
    trading = np.where(_is(table, ContextKind.HIERARCHICAL), shared, 1)
    return np.asarray(np.where(_is(table, ContextKind.ALL_TO_ALL), table.cp, trading), dtype=np.float64)


def split_operation(operation: Operation, table: LayoutTable, kv_heads: int) -> Operation:
    """The operation on one context-parallel rank: fewer tokens; in attention fewer queries, or fewer heads."""
    cp = table.cp.astype(float)
    if isinstance(operation, Attention):
        inner = head_ranks(table, kv_heads)
        return replace(
            operation,
            heads=operation.heads / inner,
            kv_heads=np.maximum(operation.kv_heads / inner, 1.0),
            query_len=operation.query_len * inner / cp,
        )
    if isinstance(operation, Stream):
        return replace(
            operation,
            forward_elements=operation.forward_elements / cp,
            backward_elements=operation.backward_elements / cp,
        )
    assert isinstance(operation, Matmul)
    return replace(operation, tokens=operation.tokens / cp)


def context_work(
    attention: Attention, table: LayoutTable, kv_heads: int, element_bytes: float
) -> list[Operation | Communication]:
    """What comes with one attention that is already split: exchanges, and the merging of a ring's partial results."""
    if not np.any(table.cp > 1):
        return []
    inner = head_ranks(table, kv_heads)
    return [
        *_head_exchanges(attention, table, inner, element_bytes),
        *_key_exchanges(attention, table, inner, element_bytes),
        _merging(attention, table, inner),
    ]


def _key_exchanges(
    attention: Attention, table: LayoutTable, inner: Floats, element_bytes: float
) -> list[Communication]:
    """Keys and values of the other ranks, again in the backward pass, and their gradients back."""
    steps = table.cp / inner
    total = attention.sequences * attention.kv_heads * attention.key_len * (attention.qk_dim + attention.v_dim)
    group = Group(ranks=steps, stride=table.tp * inner)
    in_ring = _is(table, ContextKind.RING, ContextKind.HIERARCHICAL)
    beside = np.where(in_ring, (steps - 1.0) / steps, np.where(_is(table, ContextKind.GATHERED_BLOCKS), 1.0 / steps, 0))

    def move(name: str, collective: Collective, backward: bool) -> Communication:
        return Communication(
            name=f"{attention.name}_{name}",
            purpose=Purpose.CONTEXT,
            collective=collective,
            bytes=total * element_bytes,
            group=group,
            backward=backward,
            beside_attention=beside,
        )

    return [
        move("keys", Collective.ALL_GATHER, False),
        move("keys_again", Collective.ALL_GATHER, True),
        move("key_gradients", Collective.REDUCE_SCATTER, True),
    ]


def _head_exchanges(
    attention: Attention, table: LayoutTable, inner: Floats, element_bytes: float
) -> list[Communication]:
    """Queries, keys and values to the ranks of their heads, the output back; their gradients the other way."""
    queries = attention.sequences * attention.query_len
    inputs = queries * (attention.heads * attention.qk_dim + attention.kv_heads * (attention.qk_dim + attention.v_dim))
    outputs = queries * attention.heads * attention.v_dim
    group = Group(ranks=inner, stride=table.tp.astype(float))
    return [
        Communication(
            name=f"{attention.name}_{name}",
            purpose=Purpose.CONTEXT,
            collective=Collective.ALL_TO_ALL,
            bytes=np.where(inner > 1, elements * element_bytes, 0.0),
            group=group,
            backward=backward,
        )
        for name, elements, backward in (
            ("keys_to_heads", inputs, False),
            ("output_to_tokens", outputs, False),
            ("output_gradient_to_heads", outputs, True),
            ("key_gradients_to_tokens", inputs, True),
        )
    ]


def _merging(attention: Attention, table: LayoutTable, inner: Floats) -> Stream:
    """Partial outputs, and partial gradients of queries and keys, added up step by step."""
    steps = table.cp / inner
    fused = _is(table, ContextKind.RING, ContextKind.HIERARCHICAL) & (steps > 1)
    eager = _is(table, ContextKind.GATHERED_BLOCKS) & (steps > 1)

    def passes(field: str) -> Number:
        each = np.where(fused, getattr(FUSED_MERGING, field), np.where(eager, getattr(EAGER_MERGING, field), 0.0))
        return each * (1.0 + MEAN_STEP * (steps - 1.0))

    queries = attention.sequences * attention.heads * attention.query_len
    keys = attention.sequences * attention.kv_heads * attention.key_len / steps
    return Stream(
        name=f"{attention.name}_merging",
        region=Region.TENSOR,
        forward_elements=passes("output") * queries * attention.v_dim,
        backward_elements=passes("query_gradient") * queries * attention.qk_dim
        + passes("key_gradient") * keys * (attention.qk_dim + attention.v_dim),
        launches=0.0,
        repeated_share=attention.repeated_share,
    )
