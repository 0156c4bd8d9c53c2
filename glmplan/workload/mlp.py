"""Operations of one MLP block: dense, or a mixture of experts."""

from dataclasses import dataclass

from glmplan.architecture.transformer import Architecture
from glmplan.software.stack import Kernels
from glmplan.workload.attention import norm, residual
from glmplan.workload.operation import Kept, Matmul, Operation, Region, Split, Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class PermutePasses:
    """Reads and writes of the routed tokens, in elements of the activation format."""

    permute_forward: float
    permute_backward: float
    unpermute_forward: float
    unpermute_backward: float


FUSED_PASSES = PermutePasses(permute_forward=2, permute_backward=2, unpermute_forward=2, unpermute_backward=3)
# PyTorch's index_select reads and writes; its backward is an index_add onto zeros. Combining multiplies by the
# probabilities (one read, one write), fills zeros, and adds by index (two reads, one write); the gradient of the
# probabilities reads both factors again.
UNFUSED_PASSES = PermutePasses(permute_forward=2, permute_backward=4, unpermute_forward=6, unpermute_backward=6)
# Passes over the experts' outputs where Megatron-Core adds their biases expert by expert (``TEGroupedMLP``, the method
# ``_apply_bias``): bias times probability in fp32 (written: 2 elements), the sum (5), all experts joined (4), cast back
# (3). Backward: casts there and back (6), split (2), and the gradients of probability and bias, a product and a sum
# each (12).
BIAS_FORWARD_PASSES, BIAS_BACKWARD_PASSES = 14.0, 20.0
# Passes over one width where the inputs of a gated activation are clamped before the fused kernel
# (``weighted_bias_quick_geglu_impl``): two clamps and a join of both halves; backward two masks and a join.
CLAMP_FORWARD_PASSES, CLAMP_BACKWARD_PASSES = 8.0, 10.0
SORTING = "expert_sort"
"""Token copies arrive rank by rank and are put in order of their experts, and back: after and before the all-to-all
(``sort_chunks_by_idxs`` in Megatron-Core's ``MoEAlltoAllTokenDispatcher``, ``dispatch_postprocess`` and
``combine_preprocess``). Multicast dispatchers write each copy where its expert reads it."""


def mlp_operations(arch: Architecture, seq_len: int, kernels: Kernels) -> list[Operation]:
    """Operations of one dense MLP block for one sequence, in order."""
    return [
        norm("mlp_norm", arch, seq_len, kernels),
        *_two_products("mlp", arch, kernels, float(seq_len), arch.ffn_hidden, Region.TENSOR, Region.SEQUENCE),
        residual("mlp_residual", arch, seq_len, kernels),
    ]


def expert_operations(arch: Architecture, seq_len: int, kernels: Kernels, *, narrow: bool = False) -> list[Operation]:
    """Operations of one mixture-of-experts block for one sequence: router, permutation, experts, shared experts.

    ``Matmul.batch`` of the routed experts is the number of experts, ``tokens`` the tokens that each receives when the
    router balances them. ``narrow``: their matmuls run in 8 or 4 bits.
    """
    moe = arch.moe
    assert moe is not None
    routed = float(seq_len * moe.top_k)
    passes = FUSED_PASSES if kernels.fused_permute else UNFUSED_PASSES
    hidden = arch.hidden
    operations: list[Operation] = [
        norm("mlp_norm", arch, seq_len, kernels),
        *_router(arch.hidden, moe.experts, seq_len),
        # each routed copy of a token is read and written once on the way to its expert, and once on the way back
        Stream(
            name="permute",
            region=Region.EXPERT,
            forward_elements=passes.permute_forward * routed * hidden,
            backward_elements=passes.permute_backward * routed * hidden,
            launches=4.0,
        ),
        *_two_products(
            "expert",
            arch,
            kernels,
            routed / moe.experts,
            moe.expert_ffn_hidden,
            Region.EXPERT,
            Region.EXPERT,
            batch=float(moe.experts),
        ),
        *_sorting(kernels, routed * hidden),
        *_expert_biases(arch, kernels, routed),
        *(_row_padding(kernels, routed * hidden) if narrow else []),
        # outputs that are weighted are needed once more, for the gradients of the probabilities
        Stream(
            name="unpermute",
            region=Region.EXPERT,
            forward_elements=passes.unpermute_forward * routed * hidden,
            backward_elements=passes.unpermute_backward * routed * hidden,
            launches=4.0,
            kept=() if kernels.experts.weighted_activation else (Kept(region=Region.EXPERT, elements=routed * hidden),),
        ),
    ]
    if moe.shared_width:
        operations += _two_products(
            "shared_expert", arch, kernels, float(seq_len), moe.shared_width, Region.TENSOR, Region.SEQUENCE
        )
    operations.append(residual("mlp_residual", arch, seq_len, kernels))
    return operations


def _sorting(kernels: Kernels, elements: float) -> list[Operation]:
    """A read and a write of all token copies on either side of the experts."""
    if kernels.experts.dispatch != "all_to_all":
        return []
    passes = 4.0 * elements
    return [Stream(name=SORTING, region=Region.EXPERT, forward_elements=passes, backward_elements=passes, launches=2.0)]


def _row_padding(kernels: Kernels, elements: float) -> list[Operation]:
    """Rows of each expert padded to what 8-bit matmuls take, and cut back after them.

    Megatron-Core's ``TEGroupedMLP`` copies all routed tokens once before and once after the experts; multicast
    dispatchers write padded rows themselves, and a capacity is a number of rows that fits.
    """
    if kernels.experts.dispatch == "multicast" or kernels.experts.padded_to_capacity:
        return []
    passes = 4.0 * elements
    return [
        Stream(
            name="expert_padding", region=Region.EXPERT, forward_elements=passes, backward_elements=passes, launches=2.0
        )
    ]


def _expert_biases(arch: Architecture, kernels: Kernels, routed: float) -> list[Operation]:
    """The biases of the experts' outputs, weighted as the outputs are, where no kernel adds them in passing."""
    if not arch.mlp_bias or kernels.experts.fused_epilogue:
        return []
    return [
        Stream(
            name="expert_bias",
            region=Region.EXPERT,
            forward_elements=BIAS_FORWARD_PASSES * routed * arch.hidden,
            backward_elements=BIAS_BACKWARD_PASSES * routed * arch.hidden,
            launches=4.0,
        )
    ]


def _router(hidden: int, experts: int, seq_len: int) -> list[Operation]:
    return [
        Matmul(
            name="router",
            tokens=seq_len,
            columns=experts,
            depth=hidden,
            split=Split.NONE,
            region=Region.SEQUENCE,
            kept=(Kept(region=Region.SEQUENCE, elements=seq_len * hidden, fp32_elements=2.0 * seq_len * experts),),
        ),
        Stream(
            name="router_choice",
            region=Region.SEQUENCE,
            forward_elements=6.0 * seq_len * experts,
            backward_elements=6.0 * seq_len * experts,
            launches=6.0,
        ),
    ]


def _two_products(
    name: str,
    arch: Architecture,
    kernels: Kernels,
    tokens: float,
    width: int,
    region: Region,
    input_region: Region,
    batch: float = 1.0,
) -> list[Operation]:
    """Up-projection (with gate), activation, down-projection. What lies between has the MLP's width: tensor region."""
    gates = 2.0 if arch.gated_mlp else 1.0
    rows = tokens * batch
    # gated: gate and up, and silu(gate) as well unless one kernel does all; plain: the input of the activation
    kept_by_activation = gates + (1.0 if arch.gated_mlp and not kernels.fused_gated_activation else 0.0)
    fused = kernels.experts.fused_clamp or kernels.experts.fused_epilogue
    clamps = arch.clamped_activation and arch.gated_mlp and not fused
    kept_by_activation += gates if clamps else 0.0
    return [
        Matmul(
            name=f"{name}_up",
            tokens=tokens,
            columns=gates * width,
            depth=arch.hidden,
            split=Split.COLUMNS,
            region=region,
            batch=batch,
            launches=gates,
            kept=(Kept(region=input_region, elements=rows * arch.hidden, gathered=True),),
        ),
        Stream(
            name=f"{name}_activation",
            region=Region.TENSOR,
            forward_elements=(gates + 1.0 + clamps * CLAMP_FORWARD_PASSES) * rows * width,
            backward_elements=(2.0 * gates + 1.0 + clamps * CLAMP_BACKWARD_PASSES) * rows * width,
            launches=gates,
            kept=(Kept(region=Region.TENSOR, elements=kept_by_activation * rows * width),),
        ),
        Matmul(
            name=f"{name}_down",
            tokens=tokens,
            columns=arch.hidden,
            depth=width,
            split=Split.ROWS,
            region=region,
            batch=batch,
            kept=(Kept(region=Region.TENSOR, elements=rows * width),),
        ),
    ]
