"""How well the surfaces of single kernels predict: shapes held out, tables withheld, a second collection of the same.

Whole training steps are ``accuracy``'s matter. What this finds is printed by ``glmplan kernels``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from glmplan.cost.device_surfaces import (
    CACHED_KEY_VALUE_PASSES,
    HEAD_DIM,
    SUSTAINED_ATTENTION,
    SUSTAINED_MATMUL,
    Rates,
    attention_residuals,
    matmul_residuals,
    rates,
)
from glmplan.cost.interpolation import Floats, surface
from glmplan.documents import read_yaml
from glmplan.hardware.catalog import load_device, profiles_folder
from glmplan.hardware.measured import AttentionTable, CollectiveTable, MatmulTable, MeasuredTables
from glmplan.precision import BYTES_PER_ELEMENT, Precision

HELD_OUT_SHARE = 0.2
LARGE_FLOPS = 1e11
"""Products from this size on count as large: those of a training step."""
NEAREST = {
    "a100-sxm-80gb": "h100-sxm-80gb",
    "h100-sxm-80gb": "h200-sxm-141gb",
    "h200-sxm-141gb": "h100-sxm-80gb",
    "b200-sxm": "gb200",
    "gb200": "b200-sxm",
    "l40s": "rtx-pro-6000",
    "rtx-pro-6000": "l40s",
}
"""Device -> the measured device nearest to it, which lends when the device's own table is withheld."""
OTHER_GENERATION = {"h100-sxm-80gb": "a100-sxm-80gb", "b200-sxm": "h200-sxm-141gb"}
"""The same, across a generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Of predicted over measured seconds: |ratio - 1|; bias is the median of ln(ratio)."""

    points: int
    median: float
    p90: float
    bias: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Errors of one device predicted from another's table."""

    device: str
    lender: str
    precision: Precision
    datasheet: Errors
    """Scaled by the datasheets alone."""
    sustained: Errors
    """Also scaled by the sustained share of peak that both profiles give."""
    sustained_large: Errors
    """The same, large products only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How far two collections of one device's products lie apart, after their median offset."""

    median: float
    p90: float
    offset: float


def errors(predicted: Floats, measured: Floats) -> Errors:
    """The errors of ``predicted`` seconds."""
    log_ratio = np.log(predicted / measured)
    size = np.abs(np.expm1(log_ratio))
    return Errors(
        points=len(size),
        median=float(np.median(size)),
        p90=float(np.quantile(size, 0.9)),
        bias=float(np.median(log_ratio)),
    )


def tables_of(device: str) -> MeasuredTables:
    """The shipped tables of ``device`` alone."""
    return MeasuredTables(device=device, folder=profiles_folder() / "measurements")


def measured_matmuls() -> Iterator[MatmulTable]:
    """Every shipped matmul table."""
    for device in NEAREST:
        for precision in (Precision.BF16, Precision.FP8, Precision.FP8_BLOCKWISE, Precision.NVFP4):
            table = tables_of(device).matmul_table(str(precision))
            if table is not None:
                yield table


def matmul_held_out(table: MatmulTable, seed: int = 0) -> Errors:
    """A fifth of the shapes, drawn by ``seed``, predicted from the others."""
    precision = Precision(table.dtype)
    held = _matmul_rates(table.device, precision)
    residuals = matmul_residuals(table, held, held, BYTES_PER_ELEMENT[precision])
    hidden = _drawn(len(residuals), seed)
    shapes = (table.m, table.n, table.k)
    fitted = surface([axis[~hidden] for axis in shapes], residuals[~hidden], calm=True)
    return errors(fitted.at(*(axis[hidden] for axis in shapes)), residuals[hidden])


def matmul_transfer(device: str, lender: str, precision: Precision) -> Transfer | None:
    """``device`` predicted from the table of ``lender``; None where one of them has none."""
    own, lent = (tables_of(name).matmul_table(str(precision)) for name in (device, lender))
    if own is None or lent is None:
        return None
    element_bytes = BYTES_PER_ELEMENT[precision]
    held, held_lender = _matmul_rates(device, precision), _matmul_rates(lender, precision)
    measured = matmul_residuals(own, held, held, element_bytes)

    def predicted(device_rates: Rates) -> Floats:
        residuals = matmul_residuals(lent, held_lender, device_rates, element_bytes)
        return surface((lent.m, lent.n, lent.k), residuals, calm=True).at(own.m, own.n, own.k)

    scaled = predicted(held)
    large = 2.0 * own.m * own.n * own.k >= LARGE_FLOPS
    return Transfer(
        device=device,
        lender=lender,
        precision=precision,
        datasheet=errors(predicted(_datasheet(held)), measured),
        sustained=errors(scaled, measured),
        sustained_large=errors(scaled[large], measured[large]),
    )


def attention_held_out(device: str, seed: int = 0) -> Errors | None:
    """A fifth of the calls with heads of 128, predicted from the others; None where there is no table."""
    table = tables_of(device).attention_table()
    if table is None:
        return None
    held = _attention_rates(device)
    shapes, residuals = _attention(table, held, held)
    hidden = _drawn(len(residuals), seed)
    fitted = surface([axis[~hidden] for axis in shapes], residuals[~hidden])
    return errors(fitted.at(*(axis[hidden] for axis in shapes)), residuals[hidden])


def attention_transfer(device: str, lender: str) -> tuple[Errors, Errors] | None:
    """Attention forward of ``device`` from the table of ``lender``: by datasheet, and with the sustained share."""
    own, lent = (tables_of(name).attention_table() for name in (device, lender))
    if own is None or lent is None:
        return None
    held, held_lender = _attention_rates(device), _attention_rates(lender)
    own_shapes, measured = _attention(own, held, held)

    def predicted(device_rates: Rates) -> Floats:
        return surface(*_attention(lent, held_lender, device_rates)).at(*own_shapes)

    return errors(predicted(_datasheet(held)), measured), errors(predicted(held), measured)


def collectives_held_out(table: CollectiveTable, seed: int = 0) -> Errors:
    """A fifth of the message sizes of every curve, predicted from that curve's others as the collective model does: in
    log-log between them, in proportion to the bytes beyond the largest."""
    hidden = _drawn(len(table.seconds), seed)
    predicted, measured = [], []
    for op in np.unique(table.op):
        for ranks in np.unique(table.ranks[table.op == op]):
            rows = (table.op == op) & (table.ranks == ranks)
            seen, asked = rows & ~hidden, rows & hidden
            if not seen.any() or not asked.any():
                continue
            beyond = np.maximum(table.bytes[asked] / table.bytes[seen].max(), 1.0)
            predicted.append(surface((table.bytes[seen],), table.seconds[seen]).at(table.bytes[asked]) * beyond)
            measured.append(table.seconds[asked])
    return errors(np.concatenate(predicted), np.concatenate(measured))


def collection_noise() -> dict[tuple[str, Precision], Noise]:
    """(device, precision) -> how far an independent collection of the same products is from the shipped one."""
    rows: Sequence[dict[str, str | float]] = read_yaml(Path(__file__).parent / "kernels" / "noise.yaml").data["rows"]
    return {
        (str(row["device"]), Precision(str(row["precision"]))): Noise(
            median=float(row["median"]), p90=float(row["p90"]), offset=float(row["offset"])
        )
        for row in rows
    }


def _attention(table: AttentionTable, lender: Rates, device: Rates) -> tuple[tuple[Floats, Floats], Floats]:
    element_bytes = BYTES_PER_ELEMENT[Precision.BF16]
    residuals = attention_residuals(table, lender, device, element_bytes, CACHED_KEY_VALUE_PASSES)
    rows = table.head_dim == HEAD_DIM
    parallel = (table.batch * table.heads).astype(float)
    return (table.seq.astype(float)[rows], parallel[rows]), residuals[rows]


def _matmul_rates(device: str, precision: Precision) -> Rates:
    return rates(load_device(device), precision, SUSTAINED_MATMUL)


def _attention_rates(device: str) -> Rates:
    return rates(load_device(device), Precision.BF16, SUSTAINED_ATTENTION)


def _datasheet(held: Rates) -> Rates:
    return replace(held, sustained_fraction=None)


def _drawn(count: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.random.default_rng(seed).random(count) < HELD_OUT_SHARE
