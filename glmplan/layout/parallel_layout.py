"""How a training step is split over devices: one layout, or a table of them with a NumPy column for each field.

``ParallelLayout`` is one row of a ``LayoutTable``. Everything that costs or checks layouts works on tables.
"""

import itertools
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

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
    """Each layer keeps its input only; with ``recompute_layers`` only the first layers of a stage do."""


class Schedule(StrEnum):
    """The order of forward and backward passes on a pipeline rank."""

    GPIPE = "gpipe"
    ONE_F_ONE_B = "1f1b"
    INTERLEAVED = "interleaved"
    ZERO_BUBBLE_H1 = "zb-h1"
    """Weight gradients fill the bubble, with the memory of 1F1B (Qi 2023, arXiv:2401.10241, section 2.2)."""
    ZERO_BUBBLE_2P = "zb-2p"
    """The same with twice the micro-batches in flight (section 2.3)."""


class ContextKind(StrEnum):
    """What travels between context-parallel ranks around attention."""

    RING = "ring"
    """Keys and values, block by block, while attention works on the block before (Liu 2023, arXiv:2310.01889)."""
    GATHERED_BLOCKS = "gathered-blocks"
    """All keys and values while attention works on the first block; the others follow (torch context_parallel)."""
    ALL_GATHER = "all-gather"
    """All keys and values before one attention over them (Llama 3, arXiv:2407.21783, section 3.3.2)."""
    ALL_TO_ALL = "all-to-all"
    """Sequences for heads, and back (Jacobs 2023, arXiv:2309.14509, section 3.1)."""
    HIERARCHICAL = "hierarchical"
    """All-to-all among as many neighbours as divide the key heads evenly, a ring between such groups."""


class Offload(StrEnum):
    """What the host's memory holds instead of the device's."""

    NONE = "none"
    OPTIMIZER = "optimizer"
    """Optimizer state and main parameters; the host updates them (Ren 2021, arXiv:2101.06840, section 3)."""
    ACTIVATIONS = "activations"
    """What layers keep for the backward pass, sent away in the forward pass and fetched back in time."""
    OPTIMIZER_AND_ACTIVATIONS = "optimizer+activations"


SHARDINGS = tuple(Sharding)
RECOMPUTES = tuple(Recompute)
SCHEDULES = tuple(Schedule)
CONTEXT_KINDS = tuple(ContextKind)
OFFLOADS = tuple(Offload)
CODES: dict[str, tuple[Any, ...]] = {
    "sharding": SHARDINGS,
    "recompute": RECOMPUTES,
    "schedule": SCHEDULES,
    "context": CONTEXT_KINDS,
    "sequence_parallel": (False, True),
    "offload": OFFLOADS,
}
"""Columns that hold codes, with the value of each code."""
LISTS = ("stage_layers", "stage_recompute_layers")
"""Columns that hold a list for each layout: ``[layouts, longest]``, filled up with ``UNSTATED``."""
OPTIONAL = ("expert_tp", "recompute_layers")
"""Columns that hold ``UNSTATED`` where a layout does not say."""
UNSTATED = -1
"""In an integer column: None."""


class ParallelLayout(BaseModel):
    """One layout of ``tp * cp * pp * dp`` devices, with ``global_batch / (dp * micro_batch)`` micro-batches a step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tp: PositiveInt = 1
    """Tensor-parallel degree."""
    cp: PositiveInt = 1
    """Context-parallel degree."""
    context: ContextKind = ContextKind.RING
    """What its ranks exchange."""
    pp: PositiveInt = 1
    """Pipeline-parallel degree."""
    virtual_stages: PositiveInt = 1
    """Model chunks on each pipeline rank (interleaving); 1 without."""
    ep: PositiveInt = 1
    """Expert-parallel degree; its ranks are taken from ``dp * cp``."""
    expert_tp: PositiveInt | None = None
    """Tensor-parallel degree of the experts (Megatron: ``--expert-tensor-parallel-size``); None: ``tp``. Below ``tp``
    expert-parallel ranks are taken from the tensor-parallel ones first."""
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
    recompute_layers: NonNegativeInt | None = None
    """With ``recompute`` full: the first so many layers of each stage are recomputed, the others keep everything
    (Megatron: ``--recompute-method block --recompute-num-layers``); None: all layers."""
    stage_layers: tuple[NonNegativeInt, ...] | None = None
    """Layers of each model chunk in the order of the forward pass, ``pp * virtual_stages`` of them; chunk ``i`` lies
    on stage ``i % pp``. None: as evenly as they go."""
    stage_recompute_layers: tuple[NonNegativeInt, ...] | None = None
    """``recompute_layers`` of each of the ``pp`` stages, where they differ."""
    schedule: Schedule = Schedule.ONE_F_ONE_B
    sequence_parallel: bool = False
    """Activations outside matmuls are split over tensor-parallel ranks (Korthikanti 2022, section 4.2.2)."""
    offload: Offload = Offload.NONE

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
        parts = [f"tp{self.tp}{'+sp' if self.sequence_parallel else ''}", f"pp{self.pp}{_runs(self.stage_layers)}"]
        unusual = self.schedule not in (Schedule.ONE_F_ONE_B, Schedule.INTERLEAVED)
        parts += [str(self.schedule)] if self.pp > 1 and unusual else []
        parts += [f"v{self.virtual_stages}"] if self.virtual_stages > 1 else []
        kind = "" if self.context is ContextKind.RING else f":{self.context}"
        parts += [f"cp{self.cp}{kind}"] if self.cp > 1 else []
        parts += [f"ep{self.ep}"] if self.ep > 1 else []
        parts += [f"etp{self.expert_tp}"] if self.expert_tp not in (None, self.tp) else []
        parts += [f"dp{self.dp}"]
        parts += [str(self.sharding)] if self.sharding is not Sharding.NONE else []
        if self.sharding is Sharding.HSDP:
            parts[-1] += str(self.shard_group)
        limit = "" if self.recompute_layers is None else str(self.recompute_layers)
        parts += [f"mb{self.micro_batch}", f"{self.recompute}{limit}{_runs(self.stage_recompute_layers)}"]
        parts += [f"offload:{self.offload}"] if self.offload is not Offload.NONE else []
        return " ".join(parts)


def _runs(numbers: tuple[int, ...] | None) -> str:
    """``(7,8x2,7)`` for 7, 8, 8, 7."""
    if numbers is None:
        return ""
    runs = [(number, len(list(same))) for number, same in itertools.groupby(numbers)]
    return f"({','.join(f'{number}x{times}' if times > 1 else str(number) for number, times in runs)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutTable:
    """Many layouts: equally long integer columns; enumerations and booleans as codes (index in their tuple)."""

    tp: Ints
    cp: Ints
    context: Ints
    pp: Ints
    virtual_stages: Ints
    ep: Ints
    expert_tp: Ints
    dp: Ints
    sharding: Ints
    shard_group: Ints
    micro_batch: Ints
    grad_accum: Ints
    recompute: Ints
    recompute_layers: Ints
    stage_layers: Ints
    stage_recompute_layers: Ints
    schedule: Ints
    sequence_parallel: Ints
    offload: Ints

    def __len__(self) -> int:
        return len(self.tp)

    @property
    def world_size(self) -> Ints:
        """Devices that each layout uses."""
        return self.tp * self.cp * self.pp * self.dp

    def columns(self) -> dict[str, Ints]:
        """Column name -> values, in field order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice) -> Self:
        """The layouts at ``rows`` (indices, a mask, or a slice)."""
        return type(self)(**{name: column[rows] for name, column in self.columns().items()})

    def row(self, index: int) -> ParallelLayout:
        """One layout of the table."""
        values: dict[str, Any] = {}
        for name, column in self.columns().items():
            if name in LISTS:
                values[name] = tuple(int(value) for value in column[index] if value != UNSTATED) or None
            else:
                values[name] = int(column[index])
        for name, members in CODES.items():
            values[name] = members[values[name]]
        values |= {name: None for name in OPTIONAL if values[name] == UNSTATED}
        return ParallelLayout(**values)

    @classmethod
    def of(cls, *layouts: ParallelLayout) -> Self:
        """The table whose rows are ``layouts``."""
        columns: dict[str, Ints] = {}
        width = 0
        for field in fields(cls):
            values = [getattr(layout, field.name) for layout in layouts]
            if field.name in CODES:
                values = [CODES[field.name].index(value) for value in values]
            if field.name in LISTS:
                width = max((len(value) for value in values if value), default=0)
                values = [[*(value or ()), *[UNSTATED] * (width - len(value or ()))] for value in values]
            shape = (len(layouts), width) if field.name in LISTS else (len(layouts),)
            column = np.array([UNSTATED if value is None else value for value in values], dtype=np.int64)
            columns[field.name] = column.reshape(shape)
        return cls(**columns)

    @classmethod
    def concatenate(cls, tables: list[Self]) -> Self:
        """All rows of ``tables``, in order."""
        columns = {}
        for field in fields(cls):
            parts = [getattr(table, field.name) for table in tables]
            if field.name in LISTS:
                width = max(part.shape[1] for part in parts)
                pad = [((0, 0), (0, width - part.shape[1])) for part in parts]
                parts = [np.pad(part, each, constant_values=UNSTATED) for part, each in zip(parts, pad, strict=True)]
            columns[field.name] = np.concatenate(parts)
        return cls(**columns)
