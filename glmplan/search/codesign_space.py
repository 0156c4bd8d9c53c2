"""The space of a co-design question: a grid of designs."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from glmplan.precision import Precision
from glmplan.search.codesign_request import CodesignRequest, FabricChoice, StorageChoice

Index = tuple[int, ...]
"""One position on every axis, in the order of ``AXES``."""

AXES = ("cluster", "fabric", "gpus", "precision", "global_batch", "stack", "storage")
ORDERED = frozenset({"gpus", "global_batch"})
"""Axes whose neighbouring values are alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """One point of the space."""

    cluster: str
    fabric: FabricChoice
    gpus: int
    precision: Precision
    global_batch: int
    stack: str
    storage: StorageChoice | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CodesignSpace:
    """All combinations of the request's lists."""

    request: CodesignRequest

    @property
    def lengths(self) -> tuple[int, ...]:
        """Values on each axis."""
        r = self.request
        axes = (r.clusters, r.fabrics, r.gpus, r.precisions, r.global_batches, r.stacks, r.storages or (None,))
        return tuple(len(axis) for axis in axes)

    def size(self) -> int:
        """Number of designs."""
        count = 1
        for length in self.lengths:
            count *= length
        return count

    def indices(self) -> Iterator[Index]:
        """Every position, in order."""
        return product(*(range(length) for length in self.lengths))

    def design(self, index: Index) -> Design:
        """The design at a position."""
        r = self.request
        cluster, fabric, gpus, precision, batch, stack, storage = index
        return Design(
            cluster=r.clusters[cluster],
            fabric=r.fabrics[fabric],
            gpus=r.gpus[gpus],
            precision=r.precisions[precision],
            global_batch=r.global_batches[batch],
            stack=r.stacks[stack],
            storage=r.storages[storage] if r.storages else None,
        )
