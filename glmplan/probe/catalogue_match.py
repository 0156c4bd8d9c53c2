"""Which catalogue device a GPU is, by the name its driver gives and its memory."""

import re
from collections.abc import Iterable

from glmplan.hardware.device import Device

OPTIONAL = re.compile(r"sxm\d*|\d+gb|hbm\d+e?")
"""Parts of a catalogue name that drivers often leave out; memory size tells these devices apart."""
MEMORY_TOLERANCE = 0.12
"""The driver reports a little less than the nominal size."""


def _parts(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))


def name_fits(catalogue_name: str, driver_name: str) -> int:
    """How many parts of ``catalogue_name`` the driver's name has; 0 where one that matters is missing.

    >>> name_fits("a100-pcie-80gb", "NVIDIA A100 80GB PCIe"), name_fits("a100-pcie-80gb", "NVIDIA A100-SXM4-80GB")
    (3, 0)
    """
    wanted, given = _parts(catalogue_name), _parts(driver_name)
    needed = {part for part in wanted if not OPTIONAL.fullmatch(part)}
    return len(wanted & given) if needed <= given else 0


def matching_device(driver_name: str, memory_bytes: float, devices: Iterable[Device]) -> Device | None:
    """The device that fits best by name among those of this memory size, or None."""
    best: tuple[int, float] | None = None
    found = None
    for device in devices:
        fits = name_fits(device.name, driver_name)
        off = abs(device.memory_capacity_bytes / memory_bytes - 1)
        if fits and off <= MEMORY_TOLERANCE and (best is None or (fits, -off) > best):
            best, found = (fits, -off), device
    return found
