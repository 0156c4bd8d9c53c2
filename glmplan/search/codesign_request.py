"""A co-design question: one training run, and the machines, fabrics, stacks, precisions and batches it may use."""

from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from glmplan.architecture.catalog import load_architecture
from glmplan.documents import Document, check, faults_of
from glmplan.errors import DocumentError, InputError
from glmplan.hardware.catalog import load_cluster, load_link, load_storage
from glmplan.precision import Precision
from glmplan.software.catalog import load_stack
from glmplan.units import Seconds, UsdPerHour, parse_count
from glmplan.workload.job import Optimizer

OWN_FABRIC = "own"
"""The cluster's own network."""


class Goal(StrEnum):
    """What a design is judged by; less is better."""

    DAYS = "days"
    USD = "usd"
    ENERGY = "energy_kwh"
    GPUS = "gpus"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FabricChoice(_Record):
    """A network to put under a cluster instead of its own."""

    link: str = Field(min_length=1)
    """Link profile of the cards, or ``own``."""
    nics: PositiveInt | None = None
    """Cards of a node; none: as many as the cluster's node has."""
    extra_usd_per_device_hour: UsdPerHour = 0.0
    """What it costs over the cluster's own price."""


class StorageChoice(_Record):
    """Where checkpoints go."""

    name: str = Field(min_length=1)
    units: PositiveInt = 1
    """How many of what the storage profile's bandwidth is for (appliances, drives, servers)."""
    usd_per_hour: UsdPerHour = 0.0
    """Of all units."""


class Bounds(_Record):
    """What a design must not exceed; none: no bound."""

    days: float | None = Field(default=None, gt=0)
    usd: float | None = Field(default=None, gt=0)
    energy_kwh: float | None = Field(default=None, gt=0)
    gpus: float | None = Field(default=None, gt=0)


class CodesignRequest(_Record):
    """The question. Every list is one axis of the space."""

    model: str = Field(min_length=1)
    seq_len: PositiveInt
    tokens: float = Field(gt=0, lt=1e18)
    """Of the whole run; written like ``15T``."""
    optimizer: Optimizer = Optimizer.ADAMW
    clusters: tuple[str, ...] = Field(min_length=1)
    gpus: tuple[PositiveInt, ...] = Field(min_length=1)
    global_batches: tuple[PositiveInt, ...] = Field(min_length=1)
    precisions: tuple[Precision, ...] = (Precision.BF16,)
    stacks: tuple[str, ...] = ("megatron-core",)
    fabrics: tuple[FabricChoice, ...] = (FabricChoice(link=OWN_FABRIC),)
    storages: tuple[StorageChoice, ...] = ()
    """None: checkpoints are taken to cost nothing."""
    checkpoint_every: Seconds | None = None
    """Between blocking checkpoints; needed with ``storages``."""
    goals: tuple[Goal, ...] = Field(default=(Goal.DAYS, Goal.USD, Goal.ENERGY, Goal.GPUS), min_length=1)
    limits: Bounds = Bounds()
    pue: float = Field(default=1.15, ge=1.0, le=3.0)
    """Power of the building over that of the machines; the default is AWS's of 2024 (table ``power``)."""
    memory_margin: float = Field(default=0.05, ge=0.0, lt=1.0)

    @field_validator("tokens", mode="before")
    @classmethod
    def _count(cls, value: Any) -> Any:
        return parse_count(value) if isinstance(value, str) else value

    @field_validator("fabrics", mode="before")
    @classmethod
    def _links(cls, value: Any) -> Any:
        return [{"link": item} if isinstance(item, str) else item for item in value] if _is_list(value) else value

    @field_validator("storages", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return [{"name": item} if isinstance(item, str) else item for item in value] if _is_list(value) else value

    @field_validator("gpus", "global_batches")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(value)))

    @field_validator("clusters", "stacks", "precisions", "goals", "fabrics", "storages")
    @classmethod
    def _once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _storage_needs_cadence(self) -> Self:
        if bool(self.storages) != (self.checkpoint_every is not None):
            missing = "checkpoint_every" if self.storages else "storages"
            raise ValueError(f"{missing}: must be given with storages and checkpoint_every together")
        return self


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def codesign_request(document: Document) -> CodesignRequest:
    """The request in ``document``, every name in it found. Raises DocumentError with all faults."""
    request = check(CodesignRequest, document)
    check_names(request)
    return request


def request_of(values: dict[str, Any]) -> CodesignRequest:
    """The request of a command line's values. Raises DocumentError with all faults."""
    from pydantic import ValidationError

    try:
        request = CodesignRequest.model_validate(values)
    except ValidationError as error:
        raise DocumentError("request", faults_of(error, {})) from None
    check_names(request)
    return request


def check_names(request: CodesignRequest) -> None:
    """Raises InputError for the first name that no catalogue has, with the nearest ones."""
    load_architecture(request.model)
    for name in request.clusters:
        load_cluster(name)
    for name in request.stacks:
        load_stack(name)
    for fabric in request.fabrics:
        if fabric.link != OWN_FABRIC:
            load_link(fabric.link)
    for choice in request.storages:
        if load_storage(choice.name).write_bandwidth is None:
            raise InputError(f"storages: {choice.name} has no write bandwidth; use another storage profile")


EXAMPLE = """\
# A co-design question for `glmplan codesign REQUEST.yaml -o DIR`. Every list is one axis of the space.
model: llama3-8b          # preset, YAML or Hugging Face config.json
seq_len: 8192
tokens: 1T                # of the whole run
clusters: [dgx-a100-pod, dgx-h100-pod, dgx-b200-pod]
gpus: [32, 64, 128, 256]
global_batches: [256, 512, 1024]
precisions: [bf16, fp8]
stacks: [megatron-core]
fabrics: [own, ib-hdr]    # a link profile instead of the cluster's own network
goals: [days, usd, energy_kwh, gpus]
limits: {days: 120}
"""
"""What ``--example`` prints."""
