"""Operations before the first and after the last layer: embedding; final norm, vocabulary projection and loss."""

from glmplan.architecture.transformer import Architecture
from glmplan.software.stack import Kernels
from glmplan.workload.attention import norm
from glmplan.workload.operation import Kept, Matmul, Operation, Region, Split, Stream

# Element passes (in the activation format) over the logits: copy to fp32, log-softmax, gather; and back. fp32 counts
# double. A fused loss reads the logits once and writes their gradient once.
LOSS_FORWARD_PASSES = 9.0
LOSS_BACKWARD_PASSES = 8.0
FUSED_LOSS_FORWARD_PASSES = 2.0
FUSED_LOSS_BACKWARD_PASSES = 2.0


def embedding_operations(arch: Architecture, seq_len: int, kernels: Kernels) -> list[Operation]:
    """Token (and position) lookup, with dropout where the stack applies it."""
    elements = float(seq_len * arch.hidden)
    dropout = 1.0 if kernels.dropout else 0.0
    return [
        Stream(
            name="embedding",
            region=Region.SEQUENCE,
            forward_elements=(2.0 + dropout) * elements,
            backward_elements=(3.0 + dropout) * elements,
            launches=3.0,
            kept=(Kept(region=Region.SEQUENCE, elements=0.0, mask_elements=dropout * elements),),
        )
    ]


def head_operations(arch: Architecture, seq_len: int, kernels: Kernels) -> list[Operation]:
    """Final norm, projection to the vocabulary, cross-entropy. What the loss keeps is counted as the loss's memory.

    Multi-token prediction repeats the projection and the loss once a module, and joins two widths to one before its
    layer (DeepSeek-V3, arXiv:2412.19437, eq. 21 to 23).
    """
    passes = seq_len * (1 + arch.mtp_layers)
    logits = float(passes * arch.vocab)
    fused = kernels.fused_loss
    return [
        *_joined_inputs(arch, seq_len),
        norm("final_norm", arch, seq_len, kernels),
        Matmul(
            name="vocabulary",
            tokens=passes,
            columns=arch.vocab,
            depth=arch.hidden,
            split=Split.COLUMNS,
            kept=(Kept(region=Region.SEQUENCE, elements=passes * arch.hidden, gathered=True),),
        ),
        Stream(
            name="loss",
            region=Region.TENSOR,
            forward_elements=(FUSED_LOSS_FORWARD_PASSES if fused else LOSS_FORWARD_PASSES) * logits,
            backward_elements=(FUSED_LOSS_BACKWARD_PASSES if fused else LOSS_BACKWARD_PASSES) * logits,
            launches=8.0,
        ),
    ]


def _joined_inputs(arch: Architecture, seq_len: int) -> list[Operation]:
    """The projection of hidden state and next token's embedding, for all multi-token-prediction modules."""
    if not arch.mtp_layers:
        return []
    tokens = seq_len * arch.mtp_layers
    return [
        Matmul(
            name="mtp_projection",
            tokens=tokens,
            columns=arch.hidden,
            depth=2 * arch.hidden,
            split=Split.NONE,
            region=Region.SEQUENCE,
            kept=(Kept(region=Region.SEQUENCE, elements=2 * tokens * arch.hidden),),
        )
    ]
