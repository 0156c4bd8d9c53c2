"""Storage systems: what a file system, an object store or a local drive reads and writes."""

from typing import Literal

from pydantic import Field

from glmplan.hardware.fact import BandwidthFact, DurationFact, Figures, Record, Source


class Storage(Record):
    """A storage system or one unit of it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str = ""
    kind: Literal["local", "parallel-file-system", "object-store", "block", "network-file-system", "guideline"]
    per: str = ""
    """What the bandwidths are for: a drive, a node, a storage server, the whole system."""
    read_bandwidth: BandwidthFact | None = None
    write_bandwidth: BandwidthFact | None = None
    latency: DurationFact | None = None
    figures: Figures = Field(default_factory=dict)
    note: str = ""
    sources: dict[str, Source] = Field(default_factory=dict)
