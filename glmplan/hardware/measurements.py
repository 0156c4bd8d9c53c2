"""What a probe measured on one machine, as a cluster profile holds it: columns of SI numbers, one row a measurement."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, FiniteFloat, model_validator

from glmplan.hardware.fact import Record

Op = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv"]


class _Columns(Record):
    @model_validator(mode="after")
    def _equal_and_positive(self) -> "_Columns":
        columns: dict[str, Sequence[object]] = {name: getattr(self, name) for name in type(self).model_fields}
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns must be equally long; got {lengths}")
        for name, column in columns.items():
            for row, value in enumerate(column):
                if not isinstance(value, str) and not (isinstance(value, (int, float)) and value > 0):
                    raise ValueError(f"{name}[{row}] must be greater than zero; got {value}")
        return self


class MatmulColumns(_Columns):
    """Measured products, one a row."""

    dtype: tuple[str, ...]
    m: tuple[int, ...]
    n: tuple[int, ...]
    k: tuple[int, ...]
    seconds: tuple[FiniteFloat, ...]


class AttentionColumns(_Columns):
    """Measured causal attention calls, one a row."""

    dtype: tuple[str, ...]
    batch: tuple[int, ...]
    seq: tuple[int, ...]
    heads: tuple[int, ...]
    kv_heads: tuple[int, ...]
    head_dim: tuple[int, ...]
    seconds: tuple[FiniteFloat, ...]


class CollectiveColumns(_Columns):
    """Measured collectives, one a row; bytes as nccl-tests counts them."""

    op: tuple[Op, ...]
    ranks: tuple[int, ...]
    bytes: tuple[FiniteFloat, ...]
    seconds: tuple[FiniteFloat, ...]


class CopyColumns(_Columns):
    """Measured copies in device memory, one a row."""

    bytes: tuple[FiniteFloat, ...]
    seconds: tuple[FiniteFloat, ...]


class StorageColumns(_Columns):
    """Measured transfers to and from storage, one a row."""

    bytes: tuple[FiniteFloat, ...]
    op: tuple[Literal["read", "write"], ...]
    seconds: tuple[FiniteFloat, ...]


class Measurements(Record):
    """What a probe measured on one machine. Columns of SI numbers."""

    matmul: MatmulColumns | None = None
    attention: AttentionColumns | None = None
    attention_backward: AttentionColumns | None = None
    collectives: CollectiveColumns | None = None
    memory_copy: CopyColumns | None = None
    host_launch_s: FiniteFloat | None = Field(default=None, gt=0)
    """What one kernel launch costs the host."""
    storage: StorageColumns | None = None
