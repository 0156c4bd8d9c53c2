"""What each operation of a layer still keeps for the backward pass under selective recomputation."""

from dataclasses import replace

from glmplan.architecture.transformer import Architecture
from glmplan.software.stack import Kernels
from glmplan.workload.attention import is_attention_core
from glmplan.workload.operation import Attention, Kept, Matmul, Operation, Region, Stream

KEY_SHARE = 1.0 / 6.0
"""Of a fused q, k, v projection, what the keys take: between 1/10 (one key head for eight queries) and 1/3."""


def with_selective(operation: Operation, arch: Architecture, seq_len: int, kernels: Kernels) -> Operation:
    """``operation`` with what it keeps when the stack recomputes selectively."""
    if kernels.selective == "attention":
        scores = operation.name.removeprefix("cross_") == "attention_scores"
        return replace(operation, kept_selectively=() if scores else operation.kept)
    return replace(operation, kept_selectively=_outputs_kept(operation, arch, seq_len, kernels))


def repeated_share(operation: Operation, kernels: Kernels) -> float:
    """The part of the operation's forward pass that selective recomputation repeats, 0 to 1.

    Keeping every second matmul of q, k, v, o, gate, up, down repeats k, o and up, and everything between matmuls but
    attention, whose output is kept.
    """
    name = operation.name.removeprefix("cross_")
    if kernels.selective == "attention":
        return 1.0 if is_attention_core(name) else 0.0
    match operation:
        case Matmul() if name == "qkv":
            return KEY_SHARE
        case Matmul():
            return {"attention_output": 1.0, "mlp_up": 0.5, "expert_up": 0.5, "shared_expert_up": 0.5}.get(name, 0.0)
        case Stream():
            return 0.0 if name.endswith("_residual") else 1.0
        case _:
            return 0.0


def _outputs_kept(operation: Operation, arch: Architecture, seq_len: int, kernels: Kernels) -> tuple[Kept, ...]:
    """The layer's input, attention's output and statistics, and the first, third, ... matmul's output.

    torchtitan counts a Llama layer's matmuls as q, k, v, o, gate, up, down: q, v, gate and down are kept. The output
    of down is read by no backward pass.
    """
    name = operation.name.removeprefix("cross_")
    if isinstance(operation, Attention):
        queries, keys_and_values = operation.kept
        values = seq_len * operation.kv_heads * operation.v_dim
        return (queries, replace(keys_and_values, elements=values))
    if name == "attention_norm":
        return (Kept(region=Region.SEQUENCE, elements=seq_len * arch.hidden),)
    if name == "attention_output":
        return operation.kept
    if isinstance(operation, Stream) and name.endswith("_activation"):
        return tuple(replace(kept, elements=_one_width(operation, arch)) for kept in operation.kept)
    if isinstance(operation, Matmul) and name.endswith("_down") and kernels.keeps_unneeded_outputs:
        region = Region.EXPERT if operation.region is Region.EXPERT else Region.SEQUENCE
        return (Kept(region=region, elements=operation.tokens * operation.batch * arch.hidden),)
    return ()


def _one_width(activation: Stream, arch: Architecture) -> float:
    """Elements of one tensor as wide as the MLP: its activation reads ``gates`` of them and writes one."""
    gates = 2.0 if arch.gated_mlp else 1.0
    return float(activation.forward_elements / (gates + 1.0))
