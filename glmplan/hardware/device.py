"""Devices: what one accelerator can do by its datasheet. Measured and fitted numbers stand elsewhere."""

from typing import Literal

from pydantic import Field, model_validator

from glmplan.errors import NoData
from glmplan.hardware.fact import (
    BandwidthFact,
    ComputeRateFact,
    CountFact,
    DurationFact,
    Figures,
    PowerFact,
    RatioFact,
    Record,
    SizeFact,
    Source,
)
from glmplan.precision import PEAK_KEY, Precision

PeakKey = Literal["fp32", "tf32", "bf16", "fp16", "fp8", "fp6", "int8", "fp4"]
Runtime = Literal["cuda", "rocm", "cpu", "hpu", "npu", "tpu"]


class ScaleUp(Record):
    """How the device reaches its peers in the scale-up domain."""

    link: str = Field(min_length=1)
    """Name of a link profile."""
    bandwidth: BandwidthFact | None = None
    """All links of one device together, one direction; none: the link profile's own."""
    latency: DurationFact | None = None
    """Of one step, where it was measured on this machine; none: the link profile's own."""
    wiring: Literal["switch", "mesh", "pairs", "torus"] = "switch"
    """``switch``: any pair at full rate; ``mesh``: one link for each peer; ``pairs``: bridges between two devices."""


class Device(Record):
    """An accelerator."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str = ""
    vendor: str
    runtime: Runtime
    architecture: str = ""
    form_factor: str = ""
    released: CountFact | None = None
    """Year."""
    peak_flops: dict[PeakKey, ComputeRateFact] = Field(min_length=1)
    """Dense, without structured sparsity; fp32 is the vector rate."""
    memory_capacity: SizeFact
    memory_usable: SizeFact | None = None
    """What the driver reports, where that is known and smaller."""
    memory_bandwidth: BandwidthFact
    memory_type: str = ""
    tdp: PowerFact | None = None
    scale_up: ScaleUp | None = None
    """None: peers are reached through the host."""
    host_link: str | None = None
    """Name of the link profile to the host, PCI Express as a rule."""
    chip: Figures = Field(default_factory=dict)
    compute_derate: RatioFact | None = None
    """Seconds of matmuls and attention over those of the device whose tables it borrows, where its clocks are lower."""
    efficiency_like: str | None = None
    """The device whose measured tables stand in where this one has none."""
    collectives_like: str | None = None
    """The same for collectives, where another device is nearer in that."""
    figures: Figures = Field(default_factory=dict)
    sources: dict[str, Source] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _usable_is_smaller(self) -> "Device":
        if self.memory_usable is not None and self.memory_usable.value > self.memory_capacity.value:
            raise ValueError("memory_usable must not be larger than memory_capacity")
        return self

    @property
    def memory_capacity_bytes(self) -> float:
        """What a process can allocate at most: the usable size where known, else the nominal one."""
        return (self.memory_usable or self.memory_capacity).value

    @property
    def memory_bandwidth_bytes_per_s(self) -> float:
        """Read or write, by the datasheet."""
        return self.memory_bandwidth.value

    @property
    def tdp_watts(self) -> float | None:
        """Design power of the device or module."""
        return None if self.tdp is None else self.tdp.value

    def peak_flops_per_s(self, precision: Precision) -> float:
        """Dense peak of ``precision``. Raises NoData where the device has none, naming what it has."""
        fact = self.peak_flops.get(PEAK_KEY[precision])  # type: ignore[call-overload]
        if fact is None:
            raise NoData(
                f"device {self.name}: no peak is known for {precision.value}; it has {', '.join(self.peak_flops)}"
            )
        return float(fact.value)
