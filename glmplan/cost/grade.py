"""How well a prediction is supported: by measurements of device and stack together, of the device's generation, or not
at all.
"""

import re
from functools import cache, lru_cache

from glmplan.cost.estimate import Grade
from glmplan.hardware.catalog import load_device
from glmplan.hardware.cluster import Cluster
from glmplan.hardware.device import Device
from glmplan.hardware.measured import MeasuredTables
from glmplan.software.stack import Stack

_GENERATION = re.compile(r"(?:Grace \+ )?(?:\d+x )?(\w+)")
"""The first word of a profile's architecture, behind the host chip and the number of dies."""


def generation_of(architecture: str) -> str:
    """The generation of chips in a device profile's architecture.

    >>> generation_of("Grace + 2x Blackwell Ultra"), generation_of("Hopper GH100 (export variant)")
    ('Blackwell', 'Hopper')
    """
    found = _GENERATION.match(architecture)
    return architecture if found is None else found.group(1)


@lru_cache(maxsize=64)
def lender_of(measured: MeasuredTables) -> str | None:
    """The device whose matmuls stand in ``measured``; None where none do."""
    table = measured.matmul_table("bf16") or measured.matmul_table("fp32")
    return None if table is None else table.device


def grade_of(cluster: Cluster, stack: Stack) -> Grade:
    """How well device and stack are measured."""
    if cluster.device.name in stack.calibrated_devices:
        return Grade.CALIBRATED
    return Grade.TRANSFERRED if same_generation(cluster.device, lender_of(cluster.measured)) else Grade.DATASHEET


def same_generation(device: Device, lender: str | None) -> bool:
    """Whether ``lender`` (the name of a device, or None) is of the same generation as ``device``, or ``device``."""
    if lender is None:
        return False
    return lender == device.name or _generation(lender) == generation_of(device.architecture)


@cache
def _generation(name: str) -> str:
    return generation_of(load_device(name).architecture)
