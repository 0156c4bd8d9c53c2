"""The tables of the kernel report: what was asked, the rows, and what they show."""

from collections.abc import Sequence
from dataclasses import dataclass

from glmplan.precision import Precision
from glmplan.validation.kernel_accuracy import (
    NEAREST,
    OTHER_GENERATION,
    attention_held_out,
    attention_transfer,
    collection_noise,
    collectives_held_out,
    matmul_held_out,
    matmul_transfer,
    measured_matmuls,
    tables_of,
)
from glmplan.validation.kernel_source import (
    TABLE_DEVICES,
    Beside,
    compare_attention,
    compare_grouped,
    compare_matmuls,
    machine_derate,
)

PRECISIONS = (Precision.BF16, Precision.FP8, Precision.FP8_BLOCKWISE, Precision.NVFP4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table of the report."""

    key: str
    """In the JSON form."""
    title: str
    note: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str | int | float | None, ...], ...]
    """Shares of 1 where the header says error, bias, p90 or noise; plain ratios otherwise."""


def kernel_sections() -> list[Section]:
    """All tables, computed from the shipped measurements."""
    return [_held_out(), _withheld(), _attention(), _collectives(), *_second_source()]


def _held_out() -> Section:
    noise = collection_noise()
    rows: list[tuple[str | int | float | None, ...]] = []
    for table in measured_matmuls():
        found = matmul_held_out(table)
        floor = noise.get((table.device, Precision(table.dtype)))
        row = (table.device, table.dtype, found.points, found.median, found.p90, found.bias)
        rows.append((*row, *((floor.median, floor.p90, floor.offset) if floor else (None, None, None))))
    return Section(
        key="matmul_held_out",
        title="Matmuls: a fifth of the shapes held out",
        note="Noise is how far an independent collection of the same products on the same device lies off, after its "
        "median offset. Where the error is at or below it, a better surface cannot be told from a worse one.",
        headers=("device", "format", "shapes", "error, median", "error, p90", "bias", "noise", "noise, p90", "offset"),
        rows=tuple(rows),
    )


def _withheld() -> Section:
    rows: list[tuple[str | int | float | None, ...]] = []
    for device, lender in (*NEAREST.items(), *OTHER_GENERATION.items()):
        for precision in PRECISIONS:
            found = matmul_transfer(device, lender, precision)
            if found is not None:
                parts = (found.datasheet, found.sustained, found.sustained_large)
                figures = [figure for part in parts for figure in (part.median, part.bias)]
                rows.append((device, lender, str(precision), *figures))
    return Section(
        key="matmul_withheld",
        title="Matmuls: the device's table withheld, another's used",
        note="First by the two datasheets alone, then also with the sustained share of peak that both profiles give, "
        "then the latter for products above 0.1 TFLOP. The sustained shares of these devices were derived from the "
        "very tables, so only the first pair of columns is blind; for B300 and GB300 they are known without a table. "
        "fp8 tables hold the quantising kernel of their software, which is not a property of the device.",
        headers=(
            "device",
            "lender",
            "format",
            "error",
            "bias",
            "error, sust.",
            "bias, sust.",
            "error, large",
            "bias, large",
        ),
        rows=tuple(rows),
    )


def _attention() -> Section:
    rows: list[tuple[str | int | float | None, ...]] = []
    for device in NEAREST:
        found = attention_held_out(device)
        if found is not None:
            rows.append((device, "its own, a fifth held out", found.median, found.p90, found.bias, None))
    for device, lender in (*NEAREST.items(), *OTHER_GENERATION.items()):
        both = attention_transfer(device, lender)
        if both is not None:
            rows.append((device, lender, both[0].median, both[0].p90, both[0].bias, both[1].median))
    return Section(
        key="attention",
        title="Causal attention forward, heads of 128",
        note="Over all numbers of key-value heads. The calls were measured in an inference engine, whose writes to its "
        "cache are modelled apart: without that the same table scatters by 7 to 13 % at equal sequence and batch x "
        "heads.",
        headers=("device", "table", "error, median", "error, p90", "bias", "error, sust."),
        rows=tuple(rows),
    )


def _collectives() -> Section:
    rows = []
    for device in NEAREST:
        table = tables_of(device).collective_table()
        if table is not None:
            found = collectives_held_out(table)
            rows.append((device, found.points, found.median, found.p90, found.bias))
    return Section(
        key="collectives",
        title="Collectives in one node: a fifth of the message sizes held out",
        note="The p90 stem from messages of 1 to 8 MB, where the library changes its algorithm between two sizes.",
        headers=("device", "points", "error, median", "error, p90", "bias"),
        rows=tuple(rows),
    )


def _second_source() -> list[Section]:
    derates = [machine_derate(machine) for machine in TABLE_DEVICES]
    kernels = [
        row
        for machine in TABLE_DEVICES
        for compare in (compare_matmuls, compare_grouped, compare_attention)
        for row in compare(machine)
    ]
    headers = ("machine", "our table", "kernel", "shapes", "ratio, median", "ratio, p10", "ratio, p90")
    return [
        Section(
            key="machine_derate",
            title="SimuMax's machines beside the tables: seconds over ours, equal shapes",
            note="A derate of these machines that owes nothing to training steps.",
            headers=headers,
            rows=_beside_rows(derates),
        ),
        Section(
            key="second_source",
            title="Gradients, grouped products and attention backward, as SimuMax measured them",
            note="Seconds over ours, the machine's own slowness included; for 'backward over its forward' both are "
            "SimuMax's. Grouped products are taken as so many single ones, gradients as products of their own shape. "
            "Input gradients are as far off as forward products; weight gradients that add to an fp32 sum take 4 to 7 "
            "% more than those, grouped weight gradients on B200 a third more. No table tells an H100 limited to 500 W "
            "from one at 700 W.",
            headers=headers,
            rows=_beside_rows(kernels),
        ),
    ]


def _beside_rows(found: Sequence[Beside]) -> tuple[tuple[str | int | float | None, ...], ...]:
    return tuple(
        (row.machine, TABLE_DEVICES[row.machine], row.kernel, row.shapes, row.median, row.p10, row.p90) for row in found
    )
