"""Nodes: hosts with their devices, network cards, memory, power and prices."""

from pydantic import Field, model_validator

from glmplan.hardware.device import ScaleUp
from glmplan.hardware.fact import (
    BandwidthFact,
    CountFact,
    Figures,
    HourlyPriceFact,
    MoneyFact,
    PowerFact,
    Record,
    SizeFact,
    Source,
)

ON_DEMAND = "on_demand"


class ScaleOut(Record):
    """The node's network cards for the training traffic."""

    link: str = Field(min_length=1)
    nics: CountFact
    nic_bandwidth: BandwidthFact | None = None
    """Of one card, one direction; none: the link profile's own."""
    behind_host_link: bool = True
    """Whether a device reaches its card through its own host link (a PCI Express switch)."""


class Host(Record):
    """The host's processors and memory."""

    cpu: str = ""
    sockets: CountFact | None = None
    cores: CountFact | None = None
    vcpus: CountFact | None = None
    memory: SizeFact | None = None
    memory_max: SizeFact | None = None
    memory_bandwidth: BandwidthFact | None = None
    """Of all sockets' channels together, by the datasheet."""


class Price(Record):
    """What renting the node costs. ``low`` and ``high`` where only a range is known."""

    usd_per_hour: HourlyPriceFact
    kind: str = Field(min_length=1)
    """on_demand, spot, capacity_block, 3y_reservation, ..."""
    date: str
    """When it held, as the source says it."""
    high_usd_per_hour: HourlyPriceFact | None = None
    devices: int | None = Field(default=None, gt=0)
    """Number of devices the price is for, where that is not the node's."""


class Node(Record):
    """A host and its devices."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str = ""
    device: str = Field(min_length=1)
    devices: CountFact
    scale_up: ScaleUp | None = None
    """Overrides the device's own."""
    scale_up_domain: CountFact | None = None
    """Devices that reach each other over the scale-up links; none: those of one node."""
    scale_out: ScaleOut | None = None
    """None: the node has no network for training."""
    host: Host = Field(default_factory=Host)
    local_storage: SizeFact | None = None
    local_read_bandwidth: BandwidthFact | None = None
    local_write_bandwidth: BandwidthFact | None = None
    power: PowerFact | None = None
    """At most, the whole node."""
    purchase: MoneyFact | None = None
    prices: tuple[Price, ...] = ()
    priced_like: str | None = None
    """The node whose on-demand price stands in where this one is not for rent."""
    figures: Figures = Field(default_factory=dict)
    note: str = ""
    sources: dict[str, Source] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _domain_is_whole_nodes(self) -> "Node":
        if self.scale_up_domain is not None and self.scale_up_domain.value % self.devices.value:
            raise ValueError(
                f"scale_up_domain {self.scale_up_domain.value} is no multiple of the {self.devices.value} devices "
                "of a node"
            )
        return self

    @property
    def domain_nodes(self) -> int:
        """Nodes that share one scale-up domain."""
        return 1 if self.scale_up_domain is None else self.scale_up_domain.value // self.devices.value

    def usd_per_device_hour(self) -> HourlyPriceFact | None:
        """The cheapest dated on-demand price for one device, or None where there is none."""
        offers = [
            (price.usd_per_hour.value / (price.devices or self.devices.value), price)
            for price in self.prices
            if price.kind == ON_DEMAND and price.date != "unknown"
        ]
        if not offers:
            return None
        value, price = min(offers, key=lambda offer: offer[0])
        return HourlyPriceFact.model_construct(
            value=value,
            source=price.usd_per_hour.source,
            how="derived" if price.usd_per_hour.how in ("read", "measured") else price.usd_per_hour.how,
            note=f"{self.name}, on demand, {price.date}, per device",
        )
