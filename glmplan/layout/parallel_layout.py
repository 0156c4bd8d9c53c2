"""How a training step is split over devices: one layout, or a table of them with a NumPy column for each field.

``ParallelLayout`` is one row of a ``LayoutTable``. Everything that costs or checks layouts works on tables.
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, PositiveInt

Ints = npt.NDArray[np.int64]


class Sharding(StrEnum):
    """What data-parallel ranks split among themselves. Order is the code in a table's column."""

    NONE = "none"
    """Replicated state; gradients are all-reduced."""
    ZERO1 = "zero1"
    """Optimizer state is split (Rajbhandari 2020, arXiv:1910.02054, section 5.1)."""
    ZERO2 = "zero2"
    """Optimizer state and gradients are split (section 5.2)."""
    ZERO3 = "zero3"
    """Parameters too, gathered for use (section 5.3)."""
    FSDP = "fsdp"
    """As ZeRO-3, layer by layer with prefetch, over all data-parallel ranks (PyTorch FSDP2)."""
    HSDP = "hsdp"
    """FSDP inside a shard group, replicated across groups."""


class Recompute(StrEnum):
    """What is computed again in the backward pass instead of being kept (PyTorch: activation checkpointing)."""

    NONE = "none"
    SELECTIVE = "selective"
    """The attention core only (Korthikanti 2022, arXiv:2205.05198, section 5)."""
    FULL = "full"
    """Each layer keeps its input only."""


class Schedule(StrEnum):
    """The order of forward and backward passes on a pipeline rank."""

    GPIPE = "gpipe"
    ONE_F_ONE_B = "1f1b"
    INTERLEAVED = "interleaved"
    ZERO_BUBBLE_H1 = "zb-h1"
    """Weight gradients fill the bubble, with the memory of 1F1B (Qi 2023, arXiv:2401.10241, section 2.2)."""
    ZERO_BUBBLE_2P = "zb-2p"
    """The same with twice the micro-batches in flight (section 2.3)."""


SHARDINGS = tuple(Sharding)
RECOMPUTES = tuple(Recompute)
SCHEDULES = tuple(Schedule)
CODES: dict[str, tuple[Any, ...]] = {
    "sharding": SHARDINGS,
    "recompute": RECOMPUTES,
    "schedule": SCHEDULES,
    "sequence_parallel": (False, True),
}
"""Columns that hold codes, with the value of each code."""


class ParallelLayout(BaseModel):
    """One layout of ``tp * cp * pp * dp`` devices, with ``global_batch / (dp * micro_batch)`` micro-batches a step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tp: PositiveInt = 1
    """Tensor-parallel degree."""
    cp: PositiveInt = 1
    """Context-parallel degree."""
    pp: PositiveInt = 1
    """Pipeline-parallel degree."""
    virtual_stages: PositiveInt = 1
    """Model chunks on each pipeline rank (interleaving); 1 without."""
    ep: PositiveInt = 1
    """Expert-parallel degree; its ranks are taken from ``dp * cp``."""
    dp: PositiveInt = 1
    """Data-parallel degree: replicate times shard."""
    sharding: Sharding = Sharding.NONE
    shard_group: PositiveInt = 1
    """Data-parallel (times context-parallel) ranks that share one shard set; 1 when nothing is sharded."""
    micro_batch: PositiveInt = 1
    """Sequences in one forward pass of one model replica."""
    grad_accum: PositiveInt = 1
    """Micro-batches per step and replica."""
    recompute: Recompute = Recompute.NONE
    schedule: Schedule = Schedule.ONE_F_ONE_B
    sequence_parallel: bool = False
    """Activations outside matmuls are split over tensor-parallel ranks (Korthikanti 2022, section 4.2.2)."""

    @property
    def world_size(self) -> int:
        """Devices the layout uses."""
        return self.tp * self.cp * self.pp * self.dp

    @property
    def global_batch(self) -> int:
        """Sequences per step."""
        return self.dp * self.micro_batch * self.grad_accum

    def label(self) -> str:
        """A short name for tables, such as ``tp8+sp pp4 dp8 fsdp mb1 full``."""
        parts = [f"tp{self.tp}{'+sp' if self.sequence_parallel else ''}", f"pp{self.pp}"]
        unusual = self.schedule not in (Schedule.ONE_F_ONE_B, Schedule.INTERLEAVED)
        parts += [str(self.schedule)] if self.pp > 1 and unusual else []
        parts += [f"v{self.virtual_stages}"] if self.virtual_stages > 1 else []
        parts += [f"cp{self.cp}"] if self.cp > 1 else []
        parts += [f"ep{self.ep}"] if self.ep > 1 else []
        parts += [f"dp{self.dp}"]
        parts += [str(self.sharding)] if self.sharding is not Sharding.NONE else []
        if self.sharding is Sharding.HSDP:
            parts[-1] += str(self.shard_group)
        parts += [f"mb{self.micro_batch}", str(self.recompute)]
        return " ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutTable:
    """Many layouts: equally long integer columns; enumerations and booleans as codes (index in their tuple)."""

    tp: Ints
    cp: Ints
    pp: Ints
    virtual_stages: Ints
    ep: Ints
    dp: Ints
    sharding: Ints
    shard_group: Ints
    micro_batch: Ints
    grad_accum: Ints
    recompute: Ints
    schedule: Ints
    sequence_parallel: Ints

    def __len__(self) -> int:
        return len(self.tp)

    def columns(self) -> dict[str, Ints]:
        """Column name -> values, in field order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice) -> Self:
        """The layouts at ``rows`` (indices, a mask, or a slice)."""
        return type(self)(**{name: column[rows] for name, column in self.columns().items()})

    def row(self, index: int) -> ParallelLayout:
        """One layout of the table."""
        values: dict[str, Any] = {name: int(column[index]) for name, column in self.columns().items()}
        for name, members in CODES.items():
            values[name] = members[values[name]]
        return ParallelLayout(**values)

    @classmethod
    def of(cls, *layouts: ParallelLayout) -> Self:
        """The table whose rows are ``layouts``."""
        columns: dict[str, Ints] = {}
        for field in fields(cls):
            values = [getattr(layout, field.name) for layout in layouts]
            if field.name in CODES:
                values = [CODES[field.name].index(value) for value in values]
            columns[field.name] = np.array(values, dtype=np.int64)
        return cls(**columns)

    @classmethod
    def concatenate(cls, tables: list[Self]) -> Self:
        """All rows of ``tables``, in order."""
        return cls(**{field.name: np.concatenate([getattr(t, field.name) for t in tables]) for field in fields(cls)})
