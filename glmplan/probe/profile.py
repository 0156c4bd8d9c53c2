"""Turns the probe's rows into a cluster profile: what was measured, in the form that the planner reads.

Rates are the best seen, as a datasheet's are; the tables say what each size really gets.
"""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glmplan.documents import Json
from glmplan.hardware.device import Device, ScaleUp
from glmplan.probe.device_under_test import DeviceUnderTest
from glmplan.probe.section import Row
from glmplan.probe.sections import Rows, rows_of
from glmplan.units import format_quantity, format_seconds

SOURCE = "probe"
LINK = "shared-memory"
DIGITS = 6
TABLES = {
    "matmul": ("dtype", "m", "n", "k"),
    "attention": ("dtype", "batch", "seq", "heads", "kv_heads", "head_dim"),
    "attention_backward": ("dtype", "batch", "seq", "heads", "kv_heads", "head_dim"),
    "collectives": ("op", "ranks", "bytes"),
    "memory_copy": ("bytes",),
    "storage": ("bytes", "op"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the rows do not say about how they came about."""

    device: DeviceUnderTest
    catalogue_device: Device | None
    """The catalogue's record of this GPU, whose peaks and capacity then count."""
    ranks: int
    seconds: float
    seed: int
    versions: str
    """Of this package, torch and the communication library."""
    other_load_fraction: float
    """Of the processor, taken by other programs just before."""


def profile_document(rows: Rows, made: Circumstances) -> Json:
    """The cluster profile as document data: one node, its device, and the measured tables."""
    device_name = made.catalogue_device.name if made.catalogue_device else _slug(made.device.name)
    document: Json = {
        "name": "this-machine",
        "title": f"{made.ranks} x {device_name}, measured by glmplan probe",
        "note": (
            f"Written by `glmplan probe --ranks {made.ranks} --seconds {made.seconds:g} --seed {made.seed}` with "
            f"{made.versions}. All ranks computed at the same time. Seconds are medians over repeats and ranks."
        ),
    }
    if made.catalogue_device is None:
        document["device"] = _device(rows, made, device_name)
    document["node"] = _node(rows, made, device_name)
    document["measurements"] = measurement_tables(rows)
    document["sources"] = {SOURCE: {"title": "glmplan probe on this machine"}}
    return document


def _device(rows: Rows, made: Circumstances, name: str) -> Json:
    peaks = {
        dtype: _fact(format_quantity(rate, "FLOP/s", digits=DIGITS), "best matmul rate seen")
        for dtype, rate in best_matmul_rates(rows["matmul"]).items()
    }
    bandwidth = memory_bandwidth_bytes_per_s(rows["memory"])
    device: Json = {
        "name": name,
        "vendor": "unknown" if made.device.kind == "cpu" else made.device.name.split()[0],
        "runtime": "cuda" if made.device.kind == "cuda" else "cpu",
        "peak_flops": peaks,
        "memory_capacity": _fact(
            format_quantity(made.device.memory_bytes, "B", digits=DIGITS, binary=True),
            "memory available for one rank, rounded down" if made.device.kind == "cpu" else "as the driver reports it",
        ),
        "memory_bandwidth": _fact(
            format_quantity(bandwidth, "B/s", digits=DIGITS), "best copy within main memory, read plus write"
        ),
    }
    return device


def _node(rows: Rows, made: Circumstances, device_name: str) -> Json:
    node: Json = {"name": "this-node", "device": device_name, "devices": _fact(made.ranks, "ranks measured")}
    link = link_figures(rows.get("collectives", []))
    if link is not None and (made.catalogue_device is None or made.catalogue_device.scale_up is None):
        # A catalogue GPU keeps the link that its own record names.
        latency_s, bandwidth = link
        node["scale_up"] = {
            "link": LINK,
            "bandwidth": _fact(format_quantity(bandwidth, "B/s", digits=DIGITS), "best send between two ranks"),
        }
        if "latency" in _scale_up_fields():
            node["scale_up"]["latency"] = _fact(format_seconds(latency_s), "smallest message sent")
    node["host"] = {
        "cores": _fact(made.device.host_cores, "cores this process may use"),
        "memory": _fact(format_quantity(made.device.host_memory_bytes, "B", digits=DIGITS, binary=True), ""),
    }
    for field, op in (("local_write_bandwidth", "write"), ("local_read_bandwidth", "read")):
        if files := rows_of(rows["storage"], op=op):
            rate = max(_size(row) / row.timing.seconds for row in files)
            node[field] = _fact(format_quantity(rate, "B/s", digits=DIGITS), "largest rate over file sizes")
    node["figures"] = _figures(rows, made, link)
    return node


def _scale_up_fields() -> frozenset[str]:
    return frozenset(ScaleUp.model_fields)


def _figures(rows: Rows, made: Circumstances, link: tuple[float, float] | None) -> Json:
    """What no formula names but a reader wants: operator costs, spread, and how quiet the machine was."""
    figures: Json = {}
    for row in rows["host"]:
        note = f"one eager operator of a chain of {row.columns['operators']}"
        figures[f"host_{row.columns['chain']}_operator"] = _fact(format_seconds(row.timing.seconds), note)
    if link is not None:
        figures["link_latency"] = _fact(format_seconds(link[0]), "smallest message sent")
    for section, measured in rows.items():
        if measured:
            spread = statistics.median(row.timing.spread_fraction for row in measured)
            figures[f"{section}_spread"] = _fact(
                _significant(spread),
                f"median over {len(measured)} rows of the repeats' interquartile range over their median",
                unit="fraction",
            )
    figures["other_load"] = _fact(
        _significant(made.other_load_fraction), "of the processor, taken by other programs just before", unit="fraction"
    )
    return figures


def measurement_tables(rows: Rows) -> Json:
    """The rows as columns of SI numbers, sorted by their columns; sections without rows are left out."""
    tables = {
        "matmul": rows["matmul"],
        "attention": rows_of(rows["attention"], direction="forward"),
        "attention_backward": rows_of(rows["attention"], direction="backward"),
        "collectives": rows.get("collectives", []),
        "memory_copy": rows_of(rows["memory"], output="fresh"),
        "storage": rows["storage"],
    }
    document: Json = {name: _columns(tables[name], columns) for name, columns in TABLES.items() if tables[name]}
    document["host_launch_s"] = _significant(rows_of(rows["host"], chain="module")[0].timing.seconds)
    return document


def _columns(rows: Sequence[Row], names: Sequence[str]) -> Json:
    ordered = sorted(rows, key=lambda row: tuple(row.columns[name] for name in names))
    columns: dict[str, list[Any]] = {name: [row.columns[name] for row in ordered] for name in names}
    columns["seconds"] = [_significant(row.timing.seconds) for row in ordered]
    return columns


def best_matmul_rates(rows: Sequence[Row]) -> dict[str, float]:
    """Format -> the highest FLOP/s of any shape measured, 2 m n k over seconds."""
    rates: dict[str, float] = {}
    for row in rows:
        flops = 2.0 * int(row.columns["m"]) * int(row.columns["n"]) * int(row.columns["k"])
        dtype = str(row.columns["dtype"])
        rates[dtype] = max(rates.get(dtype, 0.0), flops / row.timing.seconds)
    return rates


def memory_bandwidth_bytes_per_s(rows: Sequence[Row]) -> float:
    """The best rate of the copies in place, whose buffers lie in main memory: bytes read plus bytes written."""
    return max(2 * _size(row) / row.timing.seconds for row in rows_of(rows, output="in place"))


def link_figures(rows: Sequence[Row]) -> tuple[float, float] | None:
    """(latency in s, bandwidth in bytes/s) from one rank to another: the smallest message, the best rate.

    None where a single rank had nobody to talk to.
    """
    sends = rows_of(rows, op="send_recv")
    if not sends:
        return None
    smallest = min(sends, key=_size)
    return smallest.timing.seconds, max(_size(row) / row.timing.seconds for row in sends)


def headlines(document: Json) -> list[tuple[str, str]]:
    """What a person wants to know first: name and value, in words."""
    node, device = document["node"], document.get("device", {})
    lines = [("devices", f"{node['devices']['value']} x {node['device']}")]
    lines += [(f"{dtype} matmul, best", fact["value"]) for dtype, fact in device.get("peak_flops", {}).items()]
    if device:
        lines.append(("memory a device", device["memory_capacity"]["value"]))
        lines.append(("memory bandwidth", device["memory_bandwidth"]["value"]))
    lines.append(("host, one eager operator", format_seconds(document["measurements"]["host_launch_s"])))
    figures = node["figures"]
    if "link_latency" in figures:
        lines.append(("link latency", figures["link_latency"]["value"]))
    if "scale_up" in node:
        lines.append(("link bandwidth", node["scale_up"]["bandwidth"]["value"]))
    for field, name in (("local_write_bandwidth", "disk write"), ("local_read_bandwidth", "disk read")):
        if field in node:
            lines.append((name, node[field]["value"]))
    for table, columns in document["measurements"].items():
        if isinstance(columns, dict):
            lines.append((f"{table} rows", str(len(columns["seconds"]))))
    return lines


def other_load_fraction(document: Json) -> float:
    """How much of the processor other programs took just before the measuring."""
    return float(document["node"]["figures"]["other_load"]["value"])


def _fact(value: str | float, note: str, unit: str | None = None) -> Json:
    fact: Json = {"value": value, "source": SOURCE, "how": "measured"}
    if unit is not None:
        fact["unit"] = unit
    if note:
        fact["note"] = note
    return fact


def _size(row: Row) -> int:
    return int(row.columns["bytes"])


def _significant(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")
