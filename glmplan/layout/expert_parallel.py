"""Expert parallelism: each rank holds some experts, tokens travel to them and back (Lepikhin 2020, arXiv:2006.16668).

Routed activations do not shrink with expert parallelism: a rank sends away as many token copies as it receives.
"""

from dataclasses import replace

import numpy as np

from glmplan.layout.communication import Collective, Communication, Purpose
from glmplan.layout.parallel_layout import LayoutTable
from glmplan.layout.placement import expert_group
from glmplan.workload.operation import Matmul, Number, Operation, Region


def split_operation(operation: Operation, table: LayoutTable) -> Operation:
    """The operation on one expert-parallel rank: fewer experts, each with the tokens of all ranks of the group."""
    if not isinstance(operation, Matmul) or operation.region is not Region.EXPERT:
        return operation
    ep = table.ep.astype(float)
    return replace(operation, tokens=operation.tokens * ep, batch=operation.batch / ep)


def expert_communications(name: str, table: LayoutTable, routed_bytes: Number) -> list[Communication]:
    """The all-to-all before (``permute``) or after (``unpermute``) the experts, forward and backward."""
    group = expert_group(table)
    bytes_ = np.where(table.ep > 1, routed_bytes, 0.0)
    return [
        Communication(
            name=f"{name}_{'gradient' if backward else 'tokens'}",
            purpose=Purpose.EXPERT,
            collective=Collective.ALL_TO_ALL,
            bytes=bytes_,
            group=group,
            backward=backward,
        )
        for backward in (False, True)
    ]
