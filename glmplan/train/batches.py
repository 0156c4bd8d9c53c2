"""Which tokens each rank sees in each step: a pure function of step, seed and data, the same for every layout.

Sequence i of step s is the same text whatever the number of ranks, and nothing needs to be stored to resume.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from glmplan.layout.parallel_layout import ParallelLayout

_ROUNDS = 4
_MASK_64 = 2**64 - 1


class TokenSource(Protocol):
    """What the loader needs of a token data set."""

    @property
    def num_tokens(self) -> int:
        """Tokens before the sequence starts again."""
        ...

    def window(self, start: int, length: int) -> npt.NDArray[np.int64]:
        """``length`` tokens from position ``start`` on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Input tokens and the tokens that follow each of them, both [B, L]."""

    tokens_BL: Tensor
    targets_BL: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """This data rank's micro-batches of every step."""

    source: TokenSource
    seq_len: int
    layout: ParallelLayout
    data_rank: int
    seed: int
    device: torch.device

    def of_step(self, step: int) -> list[MicroBatch]:
        """The micro-batches of ``step`` (the first step is 1), in order."""
        layout = self.layout
        first = (step - 1) * layout.global_batch + self.data_rank * layout.micro_batch * layout.grad_accum
        return [
            self.micro_batch(range(start, start + layout.micro_batch))
            for start in range(first, first + layout.micro_batch * layout.grad_accum, layout.micro_batch)
        ]

    def micro_batch(self, sequences: range) -> MicroBatch:
        """The given sequences, counted from the start of the training."""
        rows = [self._sequence(number) for number in sequences]
        return as_micro_batch(np.stack(rows), self.device)

    def _sequence(self, number: int) -> npt.NDArray[np.int64]:
        windows = max(1, self.source.num_tokens // self.seq_len)
        epoch, position = divmod(number, windows)
        window = shuffled(position, size=windows, key=self.seed * 1_000_003 + epoch)
        return self.source.window(window * self.seq_len, self.seq_len + 1)


def as_micro_batch(rows: npt.NDArray[np.int64], device: torch.device) -> MicroBatch:
    """Rows of L + 1 tokens as inputs and targets."""
    tokens = torch.from_numpy(rows).to(device)
    return MicroBatch(tokens_BL=tokens[:, :-1].contiguous(), targets_BL=tokens[:, 1:].contiguous())


def shuffled(position: int, *, size: int, key: int) -> int:
    """Where ``position`` goes in the shuffle of ``range(size)`` that ``key`` names, without storing the shuffle.

    A Feistel network on the next even number of bits, walked until it lands inside (Black and Rogaway 2002,
    "Ciphers with Arbitrary Finite Domains", section 4).
    """
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half_bits) - 1
    while True:
        left, right = position >> half_bits, position & mask
        for turn in range(_ROUNDS):
            left, right = right, left ^ (_mixed(right ^ _mixed(key * _ROUNDS + turn)) & mask)
        position = left << half_bits | right
        if position < size:
            return position


def _mixed(value: int) -> int:
    """The finaliser of SplitMix64 (Steele 2014, "Fast Splittable Pseudorandom Number Generators", figure 15)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK_64
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK_64
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK_64
    return value ^ value >> 31
