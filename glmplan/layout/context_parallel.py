"""Context parallelism: each rank holds a balanced part of every sequence; keys and values travel.

Liu 2023 (arXiv:2310.01889) for the ring; the bytes are those of an all-gather of keys and values forward, and of a
gather and a reduce-scatter of their gradients backward, whichever way they travel.
"""

from dataclasses import replace

from glmplan.layout.communication import Collective, Communication, Purpose
from glmplan.layout.parallel_layout import LayoutTable
from glmplan.layout.placement import context_group
from glmplan.workload.operation import Attention, Matmul, Operation, Stream


def split_operation(operation: Operation, table: LayoutTable) -> Operation:
    """The operation on one context-parallel rank: fewer tokens, but all keys."""
    cp = table.cp.astype(float)
    if isinstance(operation, Attention):
        return replace(operation, query_len=operation.query_len / cp)
    if isinstance(operation, Stream):
        return replace(
            operation,
            forward_elements=operation.forward_elements / cp,
            backward_elements=operation.backward_elements / cp,
        )
    assert isinstance(operation, Matmul)
    return replace(operation, tokens=operation.tokens / cp)


def context_communications(attention: Attention, table: LayoutTable, element_bytes: float) -> list[Communication]:
    """Exchange of keys and values for one attention (already split over tensor-parallel ranks)."""
    total = attention.sequences * attention.kv_heads * attention.key_len * (attention.qk_dim + attention.v_dim)
    group = context_group(table)

    def move(name: str, collective: Collective, backward: bool) -> Communication:
        return Communication(
            name=name,
            purpose=Purpose.CONTEXT,
            collective=collective,
            bytes=total * element_bytes,
            group=group,
            backward=backward,
        )

    return [
        move(f"{attention.name}_keys", Collective.ALL_GATHER, False),
        move(f"{attention.name}_keys_again", Collective.ALL_GATHER, True),
        move(f"{attention.name}_key_gradients", Collective.REDUCE_SCATTER, True),
    ]
