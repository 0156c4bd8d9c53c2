"""Tensor and sequence parallelism: how they split operations, and the collectives they add.

Shoeybi 2019 (arXiv:1909.08053, section 3) for the split; Korthikanti 2022 (arXiv:2205.05198, section 4.2.2) for
sequence parallelism, which replaces each all-reduce by an all-gather and a reduce-scatter of the same bytes.
"""

from dataclasses import replace

import numpy as np

from glmplan.layout.communication import Collective, Communication, Purpose
from glmplan.layout.parallel_layout import LayoutTable
from glmplan.layout.placement import expert_tensor_group, expert_tp, tensor_group
from glmplan.workload.operation import Attention, Kept, Matmul, Number, Operation, Quantisation, Region, Split, Stream

# Operations whose input every tensor-parallel rank needs whole, and operations whose outputs are partial sums.
GATHERED_INPUTS = (
    "qkv",
    "cross_qkv",
    "query_up",
    "key_value_up",
    "mlp_up",
    "expert_up",
    "shared_expert_up",
    "vocabulary",
)
PARTIAL_OUTPUTS = (
    "attention_output",
    "cross_attention_output",
    "mlp_down",
    "expert_down",
    "shared_expert_down",
    "embedding",
)


def sequence_divisor(table: LayoutTable) -> Number:
    """By how much tensors outside attention and MLP are divided."""
    return np.where(table.sequence_parallel > 0, table.tp, 1).astype(float)


def split_operation(operation: Operation, table: LayoutTable) -> Operation:
    """The operation on one tensor-parallel rank."""
    tp, outside = table.tp.astype(float), sequence_divisor(table)
    if isinstance(operation, Attention):
        return replace(operation, heads=operation.heads / tp, kv_heads=np.maximum(operation.kv_heads / tp, 1.0))
    if isinstance(operation, Stream):
        divisor = tp if operation.region is Region.TENSOR else outside
        return replace(
            operation,
            forward_elements=operation.forward_elements / divisor,
            backward_elements=operation.backward_elements / divisor,
        )
    split = expert_tp(table).astype(float) if operation.region is Region.EXPERT else tp
    quantisation = _split_quantisation(operation, outside)
    match operation.split:
        case Split.COLUMNS:
            return replace(operation, columns=operation.columns / split, quantisation=quantisation)
        case Split.ROWS:
            return replace(operation, depth=operation.depth / split, quantisation=quantisation)
        case Split.NONE:
            return replace(operation, tokens=operation.tokens / outside)


def _split_quantisation(matmul: Matmul, outside: Number) -> Quantisation | None:
    """What one rank quantises of a tensor that sequence parallelism gathers: its own part, or all of it afterwards.

    Tokens on their way to experts are gathered by the dispatcher, before the experts quantise them.
    """
    quantisation = matmul.quantisation
    if quantisation is None or not quantisation.kernels.gathers_quantised or matmul.region is Region.EXPERT:
        return quantisation
    if matmul.name in GATHERED_INPUTS:
        return replace(quantisation, input_share=1.0 / outside)
    return replace(quantisation, gradient_share=1.0 / outside) if matmul.name in PARTIAL_OUTPUTS else quantisation


def kept_divisor(kept: Kept, table: LayoutTable, saves_gathered_input: bool) -> Number:
    """By how much tensor parallelism divides what an operation keeps."""
    if kept.region is Region.TENSOR:
        return table.tp.astype(float)
    if not (kept.gathered and saves_gathered_input):
        return sequence_divisor(table)
    return sequence_divisor(table) / expert_tp(table) if kept.region is Region.EXPERT else 1.0


def exchanged_width(operation: Operation, hidden: int) -> Number:
    """Elements a token of the input that is gathered, or of the output that is summed: mostly ``hidden``."""
    if isinstance(operation, Matmul) and operation.name in GATHERED_INPUTS:
        return operation.depth
    return hidden


def tensor_communications(operation: Operation, table: LayoutTable, activation_bytes: Number) -> list[Communication]:
    """Collectives next to ``operation``, whose gathered input or summed output has ``activation_bytes`` bytes.

    Those of experts belong to the exchange of tokens where there is one: the dispatcher runs them after and before its
    all-to-all, in the activation format (Megatron-Core, ``MoEAlltoAllTokenDispatcher``), and no matmul hides them.
    """
    expert = isinstance(operation, Matmul) and operation.region is Region.EXPERT
    group = expert_tensor_group(table) if expert else tensor_group(table)
    split_sequence = table.sequence_parallel > 0
    quantisation = operation.quantisation if isinstance(operation, Matmul) and not expert else None
    purposes: dict[Purpose, Number] = {Purpose.TENSOR: 1.0}
    if expert:
        purposes = {Purpose.TENSOR: np.where(table.ep > 1, 0.0, 1.0), Purpose.EXPERT: np.where(table.ep > 1, 1.0, 0.0)}
    beside = operation.name if isinstance(operation, Matmul) and operation.region is not Region.EXPERT else None

    summed = len(operation.parts) if isinstance(operation, Matmul) else 1
    again = bool(operation.kept) and not operation.kept_selectively

    def pair(name: str, *, backward: bool, gather: bool) -> list[Communication]:
        """The all-reduce without, the all-gather or reduce-scatter with sequence parallelism."""
        collective = Collective.ALL_GATHER if gather else Collective.REDUCE_SCATTER
        whole = np.where(split_sequence, 0.0, activation_bytes)
        parts = np.where(split_sequence, activation_bytes, 0.0)
        pipelined = {collective: beside}
        if gather and quantisation is not None:
            parts = parts * quantisation.gathered_share
            pipelined = pipelined if quantisation.kernels.overlaps_gathers else {}
        # without sequence parallelism a gather is free: every rank holds the whole
        sent = [(f"{name}_{collective}", collective, parts)]
        sent += [] if gather else [(f"{name}_reduce", Collective.ALL_REDUCE, whole)]
        return [
            Communication(
                name=label if purpose is Purpose.TENSOR else f"{label}_of_tokens",
                purpose=purpose,
                collective=kind,
                bytes=size * share,
                group=group,
                backward=backward,
                beside=pipelined.get(kind),
                partial_sums=summed if backward and not gather else 1,
                repeated=again and gather and not backward,
            )
            for label, kind, size in sent
            for purpose, share in purposes.items()
        ]

    if operation.name in GATHERED_INPUTS:
        forward = pair(f"{operation.name}_input", backward=False, gather=True)
        return forward + pair(f"{operation.name}_input_gradient", backward=True, gather=False)
    if operation.name in PARTIAL_OUTPUTS:
        forward = pair(f"{operation.name}_sum", backward=False, gather=False)
        return forward + pair(f"{operation.name}_gradient", backward=True, gather=True)
    return []
