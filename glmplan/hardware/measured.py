"""Measured tables: matmul, attention and collective times of devices, from files or from a cluster profile.

Tables stay as they were measured. Turning them into efficiencies, and scaling a borrowed one, is the cost model's.
"""

import csv
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from glmplan.hardware.measurements import AttentionColumns, MatmulColumns, Measurements

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Texts = npt.NDArray[np.str_]
Grade = Literal["measured", "borrowed"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatmulTable:
    """Seconds of ``(m, k) @ (k, n)`` products in one format."""

    device: str
    grade: Grade
    dtype: str
    m: Ints
    n: Ints
    k: Ints
    seconds: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionTable:
    """Seconds of one causal attention call, forward or backward, in bf16."""

    device: str
    grade: Grade
    batch: Ints
    seq: Ints
    heads: Ints
    kv_heads: Ints
    head_dim: Ints
    seconds: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CollectiveTable:
    """Seconds of collectives within one scale-up domain. ``bytes`` counts as nccl-tests does: the whole buffer
    (all_gather: received in total; reduce_scatter: sent in total; all_reduce, all_to_all: one device's buffer)."""

    device: str
    grade: Grade
    op: Texts
    ranks: Ints
    bytes: Floats
    seconds: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClusterCollectiveTable:
    """Seconds of all-reduces over several nodes, from public logs of named systems."""

    system: Texts
    ranks: Ints
    nodes: Ints
    bytes: Floats
    seconds: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TransferTable:
    """Seconds of moving ``bytes``: a copy in device memory (one read and one write), or to and from storage."""

    device: str
    op: Texts
    bytes: Floats
    seconds: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredTables:
    """The tables that stand for one device: its own, else those of the device it is like."""

    device: str
    folder: Path
    lenders: tuple[str, ...] = ()
    """Devices to borrow matmul and attention from, nearest first."""
    collective_lenders: tuple[str, ...] = ()
    own: Measurements | None = None
    """Measured on the very machine; goes before any file."""

    def matmul_table(self, dtype: str) -> MatmulTable | None:
        """Products in ``dtype`` (a precision's name). fp16 is taken from bf16 where it was not measured by itself:
        the tensor cores run both at one rate."""
        for name in (dtype, "bf16") if dtype == "fp16" else (dtype,):
            if self.own is not None and self.own.matmul is not None and name in self.own.matmul.dtype:
                return _own_matmul(self.own.matmul, name, self.device)
            for device in (self.device, *self.lenders):
                columns = _columns(self.folder / "matmul" / f"{device}.{name}.csv.gz")
                if columns is not None:
                    return MatmulTable(
                        device=device,
                        grade=self._grade(device),
                        dtype=name,
                        m=_ints(columns["m"]),
                        n=_ints(columns["n"]),
                        k=_ints(columns["k"]),
                        seconds=columns["latency_us"] * 1e-6,
                    )
        return None

    def attention_table(self, dtype: str = "bf16") -> AttentionTable | None:
        """Causal forward calls. A probe measures each format by itself; the files hold bf16, which runs like fp16."""
        if self.own is not None and self.own.attention is not None:
            return _own_attention(self.own.attention, dtype, self.device)
        for device in (self.device, *self.lenders):
            columns = _columns(self.folder / "attention" / f"{device}.csv.gz")
            if columns is not None:
                return AttentionTable(
                    device=device,
                    grade=self._grade(device),
                    batch=_ints(columns["batch"]),
                    seq=_ints(columns["seq"]),
                    heads=_ints(columns["heads"]),
                    kv_heads=_ints(columns["kv_heads"]),
                    head_dim=_ints(columns["head_dim"]),
                    seconds=columns["latency_us"] * 1e-6,
                )
        return None

    def attention_backward_table(self, dtype: str = "bf16") -> AttentionTable | None:
        """Causal backward calls; only a probe measures them."""
        if self.own is None or self.own.attention_backward is None:
            return None
        return _own_attention(self.own.attention_backward, dtype, self.device)

    def collective_table(self) -> CollectiveTable | None:
        """Collectives within the scale-up domain."""
        if self.own is not None and self.own.collectives is not None:
            rows = self.own.collectives
            return CollectiveTable(
                device=self.device,
                grade="measured",
                op=np.array(rows.op),
                ranks=np.array(rows.ranks),
                bytes=np.array(rows.bytes, dtype=float),
                seconds=np.array(rows.seconds, dtype=float),
            )
        for device in (self.device, *self.collective_lenders):
            rows_of = _text_columns(self.folder / "collectives" / f"{device}.csv.gz")
            if rows_of is not None:
                return CollectiveTable(
                    device=device,
                    grade=self._grade(device),
                    op=np.array(rows_of["op"]),
                    ranks=np.array(rows_of["ranks"], dtype=np.int64),
                    bytes=np.array(rows_of["bytes"], dtype=float),
                    seconds=np.array(rows_of["latency_us"], dtype=float) * 1e-6,
                )
        return None

    def memory_copy_table(self) -> TransferTable | None:
        """Copies in device memory; only a probe measures them."""
        if self.own is None or self.own.memory_copy is None:
            return None
        rows = self.own.memory_copy
        return TransferTable(
            device=self.device,
            op=np.array(["copy"] * len(rows.bytes)),
            bytes=np.array(rows.bytes, dtype=float),
            seconds=np.array(rows.seconds, dtype=float),
        )

    def storage_table(self) -> TransferTable | None:
        """Transfers to and from storage; only a probe measures them."""
        if self.own is None or self.own.storage is None:
            return None
        rows = self.own.storage
        return TransferTable(
            device=self.device,
            op=np.array(rows.op),
            bytes=np.array(rows.bytes, dtype=float),
            seconds=np.array(rows.seconds, dtype=float),
        )

    @property
    def host_launch_s(self) -> float | None:
        """Host seconds of one kernel launch, where a probe measured it."""
        return None if self.own is None else self.own.host_launch_s

    @property
    def grade(self) -> Grade | None:
        """Of the bf16 matmul table; None where neither this device nor one like it was measured."""
        table = self.matmul_table("bf16") or self.matmul_table("fp32")
        return None if table is None else table.grade

    def _grade(self, device: str) -> Grade:
        return "measured" if device == self.device else "borrowed"


def cluster_collectives(folder: Path) -> ClusterCollectiveTable:
    """The all-reduce logs of several nodes in the measurements ``folder``."""
    rows = _text_columns(folder / "collectives_multinode.csv.gz")
    assert rows is not None, "the file is part of the package"
    return ClusterCollectiveTable(
        system=np.array(rows["system"]),
        ranks=np.array(rows["ranks"], dtype=np.int64),
        nodes=np.array(rows["nodes"], dtype=np.int64),
        bytes=np.array(rows["bytes"], dtype=float),
        seconds=np.array(rows["latency_us"], dtype=float) * 1e-6,
    )


def _own_matmul(rows: MatmulColumns, dtype: str, device: str) -> MatmulTable:
    chosen = np.array([given == dtype for given in rows.dtype])
    return MatmulTable(
        device=device,
        grade="measured",
        dtype=dtype,
        m=np.array(rows.m)[chosen],
        n=np.array(rows.n)[chosen],
        k=np.array(rows.k)[chosen],
        seconds=np.array(rows.seconds, dtype=float)[chosen],
    )


def _own_attention(rows: AttentionColumns, dtype: str, device: str) -> AttentionTable | None:
    chosen = np.array([given == dtype for given in rows.dtype])
    if not chosen.any():
        return None
    return AttentionTable(
        device=device,
        grade="measured",
        batch=np.array(rows.batch)[chosen],
        seq=np.array(rows.seq)[chosen],
        heads=np.array(rows.heads)[chosen],
        kv_heads=np.array(rows.kv_heads)[chosen],
        head_dim=np.array(rows.head_dim)[chosen],
        seconds=np.array(rows.seconds, dtype=float)[chosen],
    )


@lru_cache(maxsize=64)
def _columns(path: Path) -> Mapping[str, Floats] | None:
    """The columns of a table of numbers, or None where there is no such file."""
    if not path.is_file():
        return None
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        header = stream.readline().strip().split(",")
        values = np.loadtxt(stream, delimiter=",", dtype=float, ndmin=2)
    return {name: values[:, index] for index, name in enumerate(header)}


@lru_cache(maxsize=16)
def _text_columns(path: Path) -> Mapping[str, list[str]] | None:
    """The columns of a small table with text in it, or None where there is no such file."""
    if not path.is_file():
        return None
    with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {name: [row[name] for row in rows] for name in rows[0]}


def _ints(column: Floats) -> Ints:
    return column.astype(np.int64)
