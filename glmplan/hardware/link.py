"""Links: what one port, one device's share or one slot carries. Which machine has how many stands in the node."""

from typing import Literal

from pydantic import Field, model_validator

from glmplan.hardware.fact import BandwidthFact, CountFact, DurationFact, Figures, Record, Source
from glmplan.units import BYTES_PER_S, parse_quantity


class Link(Record):
    """A kind of link."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str = ""
    kind: Literal["scale-up", "scale-out", "host", "domain"]
    """``domain``: a switched group of scale-up links, kept for its size; it has no bandwidth of its own."""
    bandwidth: BandwidthFact | None = None
    """One direction: of all links of a device (scale-up), of a port (scale-out), of a slot (host)."""
    latency: DurationFact | None = None
    """What one step of a collective pays to cross it, the library's protocol included."""
    in_switch_reduction: bool = False
    """Whether its switches add up an all-reduce (NVLink SHARP)."""
    domain_devices: CountFact | None = None
    links_per_device: CountFact | None = None
    bandwidth_per_link: BandwidthFact | None = None
    usual_ports: CountFact | None = None
    """Ports of a usual node."""
    realistic: Figures = Field(default_factory=dict)
    """What is reached in practice, by test."""
    figures: Figures = Field(default_factory=dict)
    note: str = ""
    sources: dict[str, Source] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _carries_something(self) -> "Link":
        if self.bandwidth is None and self.kind != "domain":
            raise ValueError(f"bandwidth is missing; a {self.kind} link needs one, such as '450 GB/s'")
        return self

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """One direction; 0 for a domain."""
        return 0.0 if self.bandwidth is None else self.bandwidth.value

    @property
    def copy_bytes_per_s(self) -> float:
        """What copies from the host reach by test (``realistic.h2d``), else the bandwidth."""
        tested = self.realistic.get("h2d")
        return self.bandwidth_bytes_per_s if tested is None else parse_quantity(tested.value, BYTES_PER_S)

    @property
    def latency_s(self) -> float:
        """0 where none is known."""
        return 0.0 if self.latency is None else self.latency.value
