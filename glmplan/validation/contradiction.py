"""Finds what in a measurement cannot be true together: batch and world-size arithmetic, efficiencies above one, numbers
that a unit slip explains. Looks at the record alone; what needs the device's figures takes them as numbers.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from glmplan.plan.measurement import Measurement
from glmplan.units import BYTES, BYTES_PER_S, format_bytes, parse_quantity

_WHOLE = {
    "model": ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn_hidden", "vocab"),
    "hardware": ("gpus", "gpus_per_node"),
    "layout": (
        "tp",
        "pp",
        "cp",
        "ep",
        "dp",
        "virtual_stages",
        "shard_group",
        "micro_batch",
        "global_batch",
        "grad_accum",
    ),
}
_SAME = 0.05
"""Two printed figures of one run may differ by this much (rounding, other steps)."""
_SLIPS = ((8.0, "bits and bytes, or per GPU and per node"), (1000.0, "a factor of 1000 in the unit"))
_LINK = re.compile(r"(?:(\d+)\s*x\s*)?(\d+(?:\.\d+)?)\s*([GT])(b|B)/s")


def contradictions(measurement: Measurement) -> list[str]:
    """Every contradiction inside one record, each as a sentence with its numbers; empty when there is none."""
    unreadable = list(_not_whole(measurement))
    if unreadable:
        return unreadable
    found = [*_world(measurement), *_batch(measurement), *_efficiency(measurement), *_speed(measurement)]
    return found + list(_network(measurement))


def implausible(
    measurement: Measurement,
    *,
    step_time_s: float | None,
    model_flops: float,
    peak_flops_per_s: float,
    capacity_bytes: float,
) -> list[str]:
    """What the device cannot have done.

    ``model_flops`` is of one step over all devices, ``peak_flops_per_s`` and ``capacity_bytes`` of one device.
    A published step that uses less than 1/2000 of the peak is taken for a unit slip too. An own run may be tiny, and
    its machine's peak the best that a probe saw: it is given a factor of two above and no limit below.
    """
    own = "cluster" in measurement.hardware
    tolerance = 2.0 if own else 1.0
    found = []
    gpus = int(measurement.hardware["gpus"])
    if step_time_s is not None:
        mfu = model_flops / (step_time_s * gpus * peak_flops_per_s)
        if mfu > tolerance:
            found.append(
                f"measured step of {step_time_s:.4g} s would be {mfu:.3g} times the peak of {gpus} {_gpu(measurement)};"
                " is the speed per node or in other units?"
            )
        elif mfu < 1 / 2000 and not own:
            found.append(
                f"measured step of {step_time_s:.4g} s would use {mfu:.2g} of the peak of {gpus} {_gpu(measurement)};"
                " is the time in milliseconds?"
            )
    memory = measurement.measured.peak_memory_gib
    # "GiB" is printed for what may be decimal or include the context, hence the tolerance.
    if memory is not None and memory * parse_quantity("1 GiB", BYTES) > 1.08 * tolerance * capacity_bytes:
        found.append(f"measured.peak_memory_gib: {memory:g} exceeds the device's {format_bytes(capacity_bytes)}")
    return found


def parameter_contradiction(measurement: Measurement, parameters: float) -> list[str]:
    """The model's name plate against its shape: ``params_b`` more than 1.35 times off, nominal sizes being rounded."""
    stated = measurement.model.get("params_b")
    if not isinstance(stated, (int, float)) or stated <= 0:
        return []
    ratio = parameters / (stated * 1e9)
    if 1 / 1.35 < ratio < 1.35:
        return []
    return [f"model.params_b: {stated:g} billion stated, but the shape has {parameters / 1e9:.4g} billion parameters"]


def _gpu(measurement: Measurement) -> str:
    return str(measurement.hardware.get("gpu", "devices"))


def _not_whole(measurement: Measurement) -> Iterator[str]:
    for section, names in _WHOLE.items():
        fields: Mapping[str, Any] = getattr(measurement, section)
        for name in names:
            value = fields.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                yield f"{section}.{name}: expected a whole number of at least 1; got {value!r}"


def _world(measurement: Measurement) -> Iterator[str]:
    layout, hardware = measurement.layout, measurement.hardware
    tp, pp, cp, dp = (layout.get(name) for name in ("tp", "pp", "cp", "dp"))
    gpus, per_node = hardware.get("gpus"), hardware.get("gpus_per_node")
    if tp and pp and dp and gpus and tp * pp * (cp or 1) * dp != gpus:
        world = tp * pp * (cp or 1) * dp
        yield f"world size: tp {tp} x cp {cp or 1} x pp {pp} x dp {dp} = {world}, but hardware.gpus is {gpus}"
    if gpus and per_node and gpus > per_node and gpus % per_node:
        yield f"hardware.gpus: {gpus} is not a multiple of gpus_per_node {per_node}"
    group = layout.get("shard_group")
    if dp and group and (dp * (cp or 1)) % group:
        yield f"layout.shard_group: {group} does not divide dp x cp = {dp * (cp or 1)}"


def _batch(measurement: Measurement) -> Iterator[str]:
    layout = measurement.layout
    dp, micro, batch, accum = (layout.get(name) for name in ("dp", "micro_batch", "global_batch", "grad_accum"))
    if not (dp and micro and batch):
        return
    count = batch / (dp * micro)
    if count < 1:
        yield f"batch: global_batch {batch} is less than dp {dp} x micro_batch {micro} = {dp * micro}"
    elif accum and accum != math.ceil(count):
        product = dp * micro * accum
        yield f"batch: dp {dp} x micro_batch {micro} x grad_accum {accum} = {product}, but global_batch is {batch}"
    elif not accum and batch % (dp * micro):
        # With grad_accum given, its last micro-batch may be a smaller one.
        yield f"batch: global_batch {batch} is not a multiple of dp {dp} x micro_batch {micro} = {dp * micro}"


def _efficiency(measurement: Measurement) -> Iterator[str]:
    measured = measurement.measured
    for name in ("mfu", "hfu"):
        value = getattr(measured, name)
        if value is not None and value > 1.0:
            hint = "; is it in percent?" if value <= 100.0 else ""
            yield f"measured.{name}: {value:g} is above 1{hint}"
    if measured.mfu and measured.hfu and measured.mfu <= 1 and measured.mfu > measured.hfu * (1 + _SAME):
        yield f"measured.mfu: {measured.mfu:g} is above hfu {measured.hfu:g}, which counts recomputation too"


def _speed(measurement: Measurement) -> Iterator[str]:
    measured, gpus = measurement.measured, measurement.hardware.get("gpus")
    batch, seq_len = measurement.layout.get("global_batch"), measurement.seq_len
    if not (measured.step_time_s and measured.tokens_per_s_per_gpu and gpus and batch and seq_len):
        return
    implied = batch * seq_len / (measured.step_time_s * gpus)
    ratio = measured.tokens_per_s_per_gpu / implied
    if abs(ratio - 1) > 2 * _SAME:
        yield (
            f"speed: step_time_s {measured.step_time_s:g} means {implied:.4g} tokens/s per GPU, but "
            f"tokens_per_s_per_gpu is {measured.tokens_per_s_per_gpu:g} ({ratio:.3g} times){_slip(ratio, gpus)}"
        )


def _network(measurement: Measurement) -> Iterator[str]:
    """The inter-node rate against the words that describe it, where the words are plain enough."""
    network = measurement.hardware.get("inter_node")
    per_node = measurement.hardware.get("gpus_per_node")
    if not isinstance(network, dict) or not per_node or network.get("assumed"):
        return
    rate, text = network.get("bytes_per_s_per_gpu"), network.get("text")
    if not isinstance(rate, (int, float)) or not isinstance(text, str):
        return
    match = _LINK.search(text)
    if match is None or rate <= 0 or not (match.group(1) or re.search(r"per (node|gpu)", text, re.IGNORECASE)):
        return
    unit = f"{match.group(3)}{'bit' if match.group(4) == 'b' else 'B'}/s"
    stated = float(match.group(1) or 1) * parse_quantity(f"{match.group(2)} {unit}", BYTES_PER_S)
    if match.group(1) or not re.search(r"per gpu", text, re.IGNORECASE):
        stated /= per_node
    ratio = rate / stated
    slip = _slip(ratio, per_node)
    if abs(ratio - 1) > _SAME and slip:
        yield f"hardware.inter_node: {text!r} is {stated:.4g} B/s per GPU, but {rate:.4g} is given{slip}"


def _slip(ratio: float, gpus: int) -> str:
    """What a ratio looks like, as the end of a sentence; empty when like nothing known."""
    for factor, cause in (*_SLIPS, (float(gpus), "all GPUs and one GPU")):
        if factor > 1 and any(abs(ratio / wrong - 1) < 2 * _SAME for wrong in (factor, 1 / factor)):
            return f"; mixed up: {cause}"
    return ""
