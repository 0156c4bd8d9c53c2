"""Operations of one attention block: projections, rotary positions, attention core, output, residual."""

from glmplan.architecture.model_flops import mean_attended_keys
from glmplan.architecture.transformer import Architecture
from glmplan.software.stack import Kernels
from glmplan.workload.operation import Attention, Kept, Matmul, Operation, Region, Split, Stream


def attention_operations(
    arch: Architecture, seq_len: int, kernels: Kernels, *, causal: bool, cross: bool = False
) -> list[Operation]:
    """Operations of one attention block for one sequence, in order; ``cross`` attends to an encoder's output."""
    prefix = "cross_" if cross else ""
    operations: list[Operation] = [norm(f"{prefix}attention_norm", arch, seq_len, kernels)]
    operations += _latent_projections(arch, seq_len) if arch.mla else _projections(arch, seq_len, prefix)
    operations += _rotary(arch, seq_len) if not cross and arch.learned_positions == 0 else []
    operations += _core(arch, seq_len, kernels, causal=causal and not cross, prefix=prefix)
    value_width = arch.heads * (arch.mla.v_head_dim if arch.mla else arch.head_dim)
    operations.append(
        Matmul(
            name=f"{prefix}attention_output",
            tokens=seq_len,
            columns=arch.hidden,
            depth=value_width,
            split=Split.ROWS,
            kept=(Kept(region=Region.TENSOR, elements=seq_len * value_width),),
        )
    )
    operations.append(residual(f"{prefix}attention_residual", arch, seq_len, kernels))
    return operations


def norm(name: str, arch: Architecture, seq_len: int, kernels: Kernels) -> Stream:
    """A layer or RMS norm: one read and one write forward, two reads and one write backward.

    Without a fused kernel the fp32 copy of the input and its normed value are kept, and not the input itself.
    """
    elements = float(seq_len * arch.hidden)
    inputs, copies = (1.0, 0.0) if kernels.fused_norm else (0.0, 2.0)
    return Stream(
        name=name,
        region=Region.SEQUENCE,
        forward_elements=2 * elements,
        backward_elements=3 * elements,
        launches=1.0 if kernels.fused_norm else 5.0,
        kept=(Kept(region=Region.SEQUENCE, elements=inputs * elements, fp32_elements=copies * elements),),
    )


def residual(name: str, arch: Architecture, seq_len: int, kernels: Kernels) -> Stream:
    """The residual addition, with dropout where the stack applies it (mask of one byte an element)."""
    elements = float(seq_len * arch.hidden)
    dropout = 1.0 if kernels.dropout else 0.0
    return Stream(
        name=name,
        region=Region.SEQUENCE,
        forward_elements=(3.0 + 0.5 * dropout) * elements,
        backward_elements=(3.0 + 0.5 * dropout) * elements,
        kept=(Kept(region=Region.SEQUENCE, elements=0.0, mask_elements=dropout * elements),),
    )


def _projections(arch: Architecture, seq_len: int, prefix: str) -> list[Operation]:
    width = (arch.heads + 2 * arch.kv_heads) * arch.head_dim
    return [
        Matmul(
            name=f"{prefix}qkv",
            tokens=seq_len,
            columns=width,
            depth=arch.hidden,
            split=Split.COLUMNS,
            launches=3.0,
            kept=(Kept(region=Region.SEQUENCE, elements=seq_len * arch.hidden, gathered=True),),
        )
    ]


def _latent_projections(arch: Architecture, seq_len: int) -> list[Operation]:
    """Low-rank projections of DeepSeek-V2 (arXiv:2405.04434, eq. 9 to 19). The down-projections are not split."""
    mla = arch.mla
    assert mla is not None
    operations: list[Operation] = []
    if mla.q_lora_rank:
        operations.append(
            Matmul(
                name="query_down",
                tokens=seq_len,
                columns=mla.q_lora_rank,
                depth=arch.hidden,
                split=Split.NONE,
                region=Region.SEQUENCE,
                kept=(Kept(region=Region.SEQUENCE, elements=seq_len * arch.hidden),),
            )
        )
    depth = mla.q_lora_rank or arch.hidden
    operations.append(
        Matmul(
            name="query_up",
            tokens=seq_len,
            columns=arch.heads * mla.qk_head_dim,
            depth=depth,
            split=Split.COLUMNS,
            kept=(Kept(region=Region.SEQUENCE, elements=2 * seq_len * depth, gathered=True),),
        )
    )
    operations.append(
        Matmul(
            name="key_value_down",
            tokens=seq_len,
            columns=mla.kv_lora_rank + mla.qk_rope_head_dim,
            depth=arch.hidden,
            split=Split.NONE,
            region=Region.SEQUENCE,
        )
    )
    operations.append(
        Matmul(
            name="key_value_up",
            tokens=seq_len,
            columns=arch.heads * (mla.qk_nope_head_dim + mla.v_head_dim),
            depth=mla.kv_lora_rank,
            split=Split.COLUMNS,
            kept=(Kept(region=Region.SEQUENCE, elements=2 * seq_len * mla.kv_lora_rank, gathered=True),),
        )
    )
    return operations


def _rotary(arch: Architecture, seq_len: int) -> list[Operation]:
    heads = arch.heads + (arch.heads if arch.mla else arch.kv_heads)
    width = arch.mla.qk_rope_head_dim if arch.mla else arch.head_dim
    elements = 2.0 * seq_len * heads * width
    return [
        Stream(name="rotary", region=Region.TENSOR, forward_elements=elements, backward_elements=elements, launches=2.0)
    ]


# Passes over the score matrix of an unfused attention: scale and mask, softmax, dropout, and the reads and writes of
# the two batched products. Counted from Megatron-LM's kernels; the backward pass writes the score gradient as well.
UNFUSED_FORWARD_PASSES = 6.5
UNFUSED_BACKWARD_PASSES = 9.0


def _core(arch: Architecture, seq_len: int, kernels: Kernels, *, causal: bool, prefix: str) -> list[Operation]:
    qk_dim = arch.mla.qk_nope_head_dim + arch.mla.qk_rope_head_dim if arch.mla else arch.head_dim
    v_dim = arch.mla.v_head_dim if arch.mla else arch.head_dim
    kv_heads = arch.heads if arch.mla else arch.kv_heads
    queries, keys_and_values = seq_len * arch.heads * qk_dim, seq_len * kv_heads * (qk_dim + v_dim)
    statistics = 0 if kernels.attention == "unfused" else seq_len * arch.heads
    unfused, keys = kernels.attention == "unfused", 2 if causal else 1
    operations: list[Operation] = [
        Attention(
            name=f"{prefix}attention_core",
            sequences=1.0,
            heads=arch.heads,
            kv_heads=kv_heads,
            query_len=seq_len,
            # the unfused kernels compute what is masked as well; twice the keys seen on average are "half seen" keys
            key_len=seq_len if unfused else mean_attended_keys(arch, seq_len, halved=causal) * keys,
            qk_dim=qk_dim,
            v_dim=v_dim,
            causal=causal and not unfused,
            kept=(
                Kept(region=Region.TENSOR, elements=queries, fp32_elements=statistics),
                Kept(region=Region.TENSOR, elements=keys_and_values, most_ranks=kv_heads),
            ),
        )
    ]
    if unfused:
        scores = float(arch.heads) * seq_len * seq_len
        dropout = 1.0 if kernels.dropout else 0.0
        operations.append(
            Stream(
                name=f"{prefix}attention_scores",
                region=Region.TENSOR,
                forward_elements=UNFUSED_FORWARD_PASSES * scores,
                backward_elements=UNFUSED_BACKWARD_PASSES * scores,
                launches=4.0,
                # softmax output and dropout output in the activation format, the mask in one byte: 5 a s^2
                # (Korthikanti 2022, section 4.1)
                kept=(Kept(region=Region.TENSOR, elements=(1 + dropout) * scores, mask_elements=dropout * scores),),
            )
        )
    return operations


def is_attention_core(name: str) -> bool:
    """Whether selective recomputation drops what the operation keeps and repeats it (Korthikanti 2022, section 5)."""
    return name.removeprefix("cross_") in ("attention_core", "attention_scores")
