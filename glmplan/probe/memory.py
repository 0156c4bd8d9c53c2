"""Measures how fast a device moves its own memory, with and without the cost of a fresh output tensor."""

from dataclasses import dataclass

import torch

from glmplan.probe.device_under_test import synchronise
from glmplan.probe.ranks import Rank
from glmplan.probe.section import Row
from glmplan.probe.timing import time_call

KIB, MIB = 2**10, 2**20
CPU_SIZES = (16 * KIB, 1 * MIB, 64 * MIB, 256 * KIB, 4 * MIB, 16 * MIB, 64 * KIB, 32 * MIB)
CUDA_SIZES = (1024 * MIB, 64 * KIB, 16 * MIB, 1 * MIB, 64 * MIB, 4 * MIB, 256 * MIB, 256 * KIB)
MAIN_MEMORY_BYTES = {"cpu": 64 * MIB, "cuda": 256 * MIB}
"""From here on a buffer lies in main memory: larger than a rank's share of the caches that machines have today."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyCase:
    """One copy of ``size_bytes``."""

    size_bytes: int
    fresh: bool
    """Into a new tensor, as an eager kernel writes its result (a large one pays for the pages it touches first)."""

    def moved_bytes(self) -> float:
        """One read and one write."""
        return 2.0 * self.size_bytes


def copy_cases(kind: str) -> list[CopyCase]:
    """The telling sizes first; in place only where main memory is measured."""
    sizes = CUDA_SIZES if kind == "cuda" else CPU_SIZES
    in_place = [CopyCase(size_bytes=size, fresh=False) for size in sizes if size >= MAIN_MEMORY_BYTES[kind]]
    fresh = [CopyCase(size_bytes=size, fresh=True) for size in sizes]
    return [in_place[0], *fresh, *in_place[1:]]


def measure_copy(case: CopyCase, rank: Rank, budget_s: float) -> Row:
    """Times one copy for about ``budget_s`` seconds."""
    source = torch.ones(case.size_bytes // 4, device=rank.device)
    target = torch.empty_like(source)

    def into_new() -> torch.Tensor:
        return source.clone()

    def in_place() -> torch.Tensor:
        return target.copy_(source)

    timing = time_call(into_new if case.fresh else in_place, lambda: synchronise(rank.device), budget_s)
    return Row(columns={"bytes": case.size_bytes, "output": "fresh" if case.fresh else "in place"}, timing=timing)
