"""One operation of a forward pass: what it multiplies, moves and keeps. No device, no layout, no seconds.

``kept`` is held for the backward pass without recomputation, ``kept_selectively`` with the selective one, which
repeats ``repeated_share`` of the forward pass (``workload.selective_recompute`` fills both in). Numbers are per
sequence in ``workload`` and arrays over layouts once ``layout`` has split them, in the same records.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from glmplan.software.quantisation_kernels import QuantisationKernels

Number = float | npt.NDArray[np.float64]


class Region(StrEnum):
    """Which techniques split a tensor's elements."""

    SEQUENCE = "sequence"
    """Whole on each tensor-parallel rank, unless sequence parallelism splits it (norms, residuals, dropout)."""
    TENSOR = "tensor"
    """Split over tensor-parallel ranks (inside attention and MLP)."""
    EXPERT = "expert"
    """Routed tokens: as many per rank as its own tokens visit experts, whatever the expert parallelism."""


class Split(StrEnum):
    """Which side of a weight matrix tensor parallelism divides."""

    COLUMNS = "columns"
    ROWS = "rows"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Elements kept for the backward pass, by the bytes each takes."""

    region: Region
    elements: Number
    """In the activation format."""
    mask_elements: Number = 0.0
    """One byte each (dropout masks)."""
    fp32_elements: Number = 0.0
    most_ranks: float = math.inf
    """Tensor-parallel ranks that divide it at most: keys and values are split by head, then replicated."""
    gathered: bool = False
    """The stack keeps the sequence-parallel gathered copy, whole on each tensor-parallel rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """That a matmul's operands are quantised first, and by which kernels (``workload.quantisation`` counts bytes)."""

    kernels: QuantisationKernels
    after_norm: bool
    """The input comes from a norm."""
    layers_share: float
    """Of the layers that this matmul stands for, those that are quantised; the others stay in the activation format."""
    gathered_share: float
    """Bytes of a gathered tensor over those in the activation format, over the same layers."""
    repeated_share: float
    """Of the forward pass's quantising, what selective recomputation repeats."""
    input_share: Number = 1.0
    """Of the input, what this rank quantises before it is gathered."""
    gradient_share: Number = 1.0
    """The same of the output's gradient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matmul:
    """``[tokens, depth] @ [depth, columns]``, ``batch`` times, with its input and weight gradients."""

    name: str
    tokens: Number
    columns: Number
    depth: Number
    split: Split
    region: Region = Region.TENSOR
    batch: Number = 1.0
    """Independent products of this shape (local experts)."""
    launches: float = 1.0
    parts: tuple[float, ...] = (1.0,)
    """Share of the columns that each product has, where several of the same input follow one another."""
    kept: tuple[Kept, ...] = ()
    kept_selectively: tuple[Kept, ...] = ()
    repeated_share: float = 0.0
    quantisation: Quantisation | None = None
    """None: multiplied in the activation format."""

    @property
    def flops(self) -> Number:
        """Of the forward pass: two per multiply-add."""
        return 2.0 * self.tokens * self.columns * self.depth * self.batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Softmax(Q K^T) V for ``sequences`` sequences."""

    name: str
    sequences: Number
    heads: Number
    kv_heads: Number
    query_len: Number
    key_len: Number
    """Keys that exist; each query sees half of them on average when causal."""
    qk_dim: float
    v_dim: float
    causal: bool
    kept: tuple[Kept, ...] = ()
    kept_selectively: tuple[Kept, ...] = ()
    repeated_share: float = 0.0

    @property
    def visible_fraction(self) -> float:
        """Share of the score matrix that a good kernel computes."""
        return 0.5 if self.causal else 1.0

    @property
    def flops(self) -> Number:
        """Executed by a kernel that skips masked blocks, forward pass."""
        pairs = self.query_len * self.key_len * self.visible_fraction
        return 2.0 * self.sequences * self.heads * pairs * (self.qk_dim + self.v_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An operation bound by memory: norms, activations, residuals, rotary positions, softmax, loss."""

    name: str
    region: Region
    forward_elements: Number
    """Read and written, in the activation format."""
    backward_elements: Number
    launches: float = 1.0
    kept: tuple[Kept, ...] = ()
    kept_selectively: tuple[Kept, ...] = ()
    repeated_share: float = 0.0


Operation = Matmul | Attention | Stream
