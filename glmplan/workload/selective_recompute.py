"""What each operation of a layer still keeps for the backward pass under selective recomputation."""

from dataclasses import replace

from glmplan.architecture.transformer import Architecture
from glmplan.software.stack import Kernels, RecomputedModule
from glmplan.workload.attention import is_attention_core
from glmplan.workload.operation import Attention, Kept, Matmul, Operation, Region, Stream


def with_selective(operation: Operation, arch: Architecture, seq_len: int, kernels: Kernels) -> Operation:
    """``operation`` with what it keeps, and the part it repeats, when the stack recomputes selectively."""
    if kernels.selective == "attention":
        return _with_modules(operation, arch, kernels)
    kept = _outputs_kept(operation, arch, seq_len, kernels)
    return replace(operation, kept_selectively=kept, repeated_share=_repeated_share(operation, arch))


def _with_modules(operation: Operation, arch: Architecture, kernels: Kernels) -> Operation:
    """``operation`` where whole modules drop their outputs and repeat their forward pass."""
    repeats = any(_in_module(operation.name, module) for module in kernels.selective_modules)
    kept = _without_outputs_of(operation, arch, kernels)
    return replace(operation, kept_selectively=kept, repeated_share=1.0 if repeats else 0.0)


def _in_module(name: str, module: RecomputedModule) -> bool:
    name = name.removeprefix("cross_")
    match module:
        case "core_attn":
            return is_attention_core(name)
        case "mla_up_proj":
            return name in ("query_up", "key_value_up", "rotary")
        case "layernorm":
            return name in ("attention_norm", "mlp_norm")
        case "moe_act":
            return name == "expert_activation"
        case "mlp":
            return name in ("mlp_up", "mlp_activation", "mlp_down")


def _without_outputs_of(operation: Operation, arch: Architecture, kernels: Kernels) -> tuple[Kept, ...]:
    """What the operation keeps of its inputs when the modules that made them are repeated.

    A flash kernel's inputs are queries, keys and values; with the up-projections of latent attention repeated, its row
    statistics stay, and of the latents the copy before their norm.
    """
    modules, name, kept = kernels.selective_modules, operation.name.removeprefix("cross_"), operation.kept
    if name == "attention_scores" and "core_attn" in modules:
        return ()
    if arch.mla is not None and "mla_up_proj" in modules:
        if isinstance(operation, Attention):
            return tuple(replace(part, elements=0.0) for part in kept)
        if name in ("query_up", "key_value_up"):
            return tuple(replace(part, elements=part.elements / 2.0) for part in kept)
    if "layernorm" in modules and name in ("qkv", "query_down", "mlp_up"):
        return ()
    if "layernorm" in modules and name == "router":  # its scores stay, its input is a norm's output
        return tuple(replace(part, elements=0.0) for part in kept)
    if "moe_act" in modules and name == "expert_down":
        return ()
    if "mlp" in modules and name in ("mlp_activation", "mlp_down"):
        return ()
    return kept


def _repeated_share(operation: Operation, arch: Architecture) -> float:
    """The part of the operation's forward pass, 0 to 1, that keeping every second matmul's output repeats.

    Of q, k, v, o, gate, up, down it repeats k, o and up, and everything between matmuls but attention, whose output is
    kept.
    """
    name = operation.name.removeprefix("cross_")
    match operation:
        case Matmul() if name == "qkv":
            return arch.kv_heads / (arch.heads + 2 * arch.kv_heads)
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
