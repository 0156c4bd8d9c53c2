"""Expert parallelism: each rank holds some experts, tokens travel to them and back (Lepikhin 2020, arXiv:2006.16668).

Routed activations do not shrink with expert parallelism: a rank sends away as many token copies as it receives. All
ranks of a group wait for the fullest one.
"""

from dataclasses import replace

import numpy as np

from glmplan.architecture.transformer import MixtureOfExperts
from glmplan.layout.communication import Collective, Communication, Purpose, Scatter
from glmplan.layout.parallel_layout import LayoutTable
from glmplan.layout.placement import expert_group, expert_tp
from glmplan.software.experts import ExpertKernels
from glmplan.workload.mlp import SORTING
from glmplan.workload.operation import Attention, Kept, Matmul, Number, Operation, Region


def split_operation(operation: Operation, table: LayoutTable, fullest: Number, num_experts: int) -> Operation:
    """The operation on one expert-parallel rank: fewer experts, each with the tokens of all ranks of the group.

    ``fullest`` is what the fullest rank has over the mean one; everything between the exchanges grows with it.
    """
    if not operation.name.startswith("expert_") or isinstance(operation, Attention):
        return operation
    gathered = expert_tp(table) / table.tp  # of the tokens of a tensor-parallel group, what one rank's experts see
    if isinstance(operation, Matmul):
        ep = table.ep.astype(float)
        return replace(operation, tokens=operation.tokens * ep * gathered * fullest, batch=operation.batch / ep)
    if operation.region is Region.EXPERT:
        fullest = np.asarray(fullest * gathered * np.where(table.sequence_parallel > 0, table.tp, 1))
    if operation.name == SORTING:  # one expert needs none, and what comes from no other rank is sorted already
        fullest = np.asarray(fullest * ((table.ep > 1) & (table.ep < num_experts)))
    return replace(
        operation,
        forward_elements=operation.forward_elements * fullest,
        backward_elements=operation.backward_elements * fullest,
    )


def fullest_rank(moe: MixtureOfExperts, table: LayoutTable, tokens: Number, experts: ExpertKernels) -> Number:
    """Token copies on the fullest rank of a group over those on the mean one, at least 1.

    A tensor-parallel group sends ``tokens`` tokens. Were every copy drawn alike, a rank's count would have the variance
    ``M`` of its mean, ``M = tokens top_k`` over the ranks that share one expert (multinomial, many experts); the
    largest of ``n`` such counts lies about ``sqrt(2 ln n)`` standard deviations above the mean (extreme value of the
    normal distribution, David and Nagaraja 2003, section 4.2). A router adds a spread ``s`` of its own between experts,
    which follows in the same way from the published violation ``v`` of the fullest of ``E`` experts,
    ``s = v / sqrt(2 ln E)``, and averages out over the ``E / n`` experts of a rank:

        f = 1 + sqrt(2 ln n (1 / M + s^2 n / E))
    """
    ranks = table.ep.astype(float)
    if experts.padded_to_capacity:
        return np.ones(len(table))
    spread = experts.load_violation / np.sqrt(2.0 * np.log(max(moe.experts, 2)))
    mean = np.asarray(tokens, dtype=float) * moe.top_k * expert_tp(table) / table.tp
    chance: Number = 0.0 if experts.routing == "contiguous" else 1.0 / mean
    variance = chance + spread**2 * ranks / moe.experts
    return np.asarray(1.0 + np.sqrt(2.0 * np.log(ranks) * variance))


def kept_share(operation: Operation, kept: Kept, fullest: Number) -> Number:
    """By how much more the fullest rank keeps of ``kept`` than the mean one."""
    routed = operation.name.startswith("expert_") or (operation.name == "unpermute" and kept.region is Region.EXPERT)
    return fullest if routed else 1.0


def expert_communications(
    name: str,
    table: LayoutTable,
    sent_bytes: Number,
    moe: MixtureOfExperts,
    experts: ExpertKernels,
    fullest: Number,
) -> list[Communication]:
    """The exchange before (``permute``) or after (``unpermute``) the experts, forward and backward.

    ``sent_bytes``: of one copy of the rank's tokens. What goes out in one direction comes back in the other.
    """
    outward = name == "permute"
    return [
        _exchange(f"{name}_{part}", table, sent_bytes, moe, experts, fullest, backward=backward, outward=goes_out)
        for part, backward, goes_out in (("tokens", False, outward), ("gradient", True, not outward))
    ]


def _exchange(
    name: str,
    table: LayoutTable,
    sent_bytes: Number,
    moe: MixtureOfExperts,
    experts: ExpertKernels,
    fullest: Number,
    *,
    backward: bool,
    outward: bool,
) -> Communication:
    collective, scatter = Collective.ALL_TO_ALL, None
    bytes_ = np.asarray(sent_bytes * moe.top_k * fullest, dtype=float)
    if experts.dispatch == "all_gather":  # every rank gets all tokens, and a share of the sum of all outputs
        collective = Collective.ALL_GATHER if outward else Collective.REDUCE_SCATTER
        bytes_ = np.asarray(sent_bytes * table.ep, dtype=float)
    elif experts.dispatch == "multicast":
        scatter = Scatter(targets=moe.top_k, pool=moe.experts, contiguous=experts.routing == "contiguous")
    return Communication(
        name=name,
        purpose=Purpose.EXPERT,
        collective=collective,
        bytes=np.where(table.ep > 1, bytes_, 0.0),
        group=expert_group(table),
        backward=backward,
        scatter=scatter,
    )
