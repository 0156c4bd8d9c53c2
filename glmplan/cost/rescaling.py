"""Measured surfaces under figures that were changed on paper: what stays, and what moves with the figure.

A table was measured on the real device. Divided by that device's own ideal times it is a residual, and the residual is
what a changed device keeps: a product that was bound by memory gains from faster memory, one bound by compute does not.
"""

from dataclasses import fields, replace

import numpy as np

from glmplan.cost.collective import CollectiveModel
from glmplan.cost.interpolation import Surface
from glmplan.cost.roofline import DeviceModel


def rescaled_device(model: DeviceModel, *, flops_ratio: float, bandwidth_ratio: float) -> DeviceModel:
    """``model`` with all its peaks and its memory bandwidth multiplied, residuals over the roofline as they were.

    Measured copies move with the memory bandwidth.
    """
    changed: dict[str, float | Surface | DeviceModel] = {}
    for field in fields(model):
        value = getattr(model, field.name)
        if field.name.endswith("flops_per_s"):
            changed[field.name] = value * flops_ratio
        elif field.name.endswith("bandwidth_bytes_per_s"):
            changed[field.name] = value * bandwidth_ratio
        elif isinstance(value, DeviceModel):  # the same device at another precision
            changed[field.name] = rescaled_device(value, flops_ratio=flops_ratio, bandwidth_ratio=bandwidth_ratio)
    if model.copy_rate is not None:
        changed["copy_rate"] = replace(model.copy_rate, values=model.copy_rate.values + np.log(bandwidth_ratio))
    return replace(model, **changed)  # type: ignore[arg-type]


def rescaled_collectives(model: CollectiveModel, *, bandwidth_ratio: float, latency_ratio: float) -> CollectiveModel:
    """``model`` with its measured curves moved to a first tier of other bandwidth and latency.

    The smallest measured message counts as all latency, what larger ones take beyond it as bytes on the wire:
    ``t' = t_0 * latency_ratio + (t - t_0) / bandwidth_ratio``. Tiers are left alone: they are derived anew.
    """
    curves = {}
    for key, (log_bytes, log_s) in model.curves.items():
        seconds = np.exp(log_s)
        moved = seconds[0] * latency_ratio + (seconds - seconds[0]) / bandwidth_ratio
        curves[key] = (log_bytes, np.log(moved))
    return replace(model, curves=curves)
