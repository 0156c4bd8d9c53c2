"""The catalogue: finds profiles by name or path, reads them, checks their sources and resolves clusters."""

import difflib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, cast

from pydantic import BaseModel, ValidationError

import glmplan
from glmplan.documents import Document, faults_of, field_path, read_yaml, sha256
from glmplan.errors import DocumentError, Fault, InputError
from glmplan.hardware.calibration import Calibration
from glmplan.hardware.cluster import Cluster, ClusterProfile
from glmplan.hardware.device import Device
from glmplan.hardware.economics import FigureTable
from glmplan.hardware.link import Link
from glmplan.hardware.node import Node
from glmplan.hardware.resolution import Parts, resolve
from glmplan.hardware.storage import Storage

Kind = Literal["cluster", "device", "node", "link", "storage", "calibration", "table"]

KINDS: Mapping[Kind, tuple[str, type[BaseModel]]] = MappingProxyType(
    {
        "cluster": ("clusters", ClusterProfile),
        "device": ("devices", Device),
        "node": ("nodes", Node),
        "link": ("links", Link),
        "storage": ("storage", Storage),
        "calibration": ("calibrations", Calibration),
        "table": ("tables", FigureTable),
    }
)
"""Kind of profile -> its folder and record."""

ProfileT = TypeVar("ProfileT", bound=BaseModel)


def profiles_folder() -> Path:
    """Where the profiles are: inside the installed package, else beside it in a source tree."""
    package = Path(glmplan.__file__).parent
    installed = package / "_hardware_profiles"
    return installed if installed.is_dir() else package.parent / "hardware_profiles"


def list_names(kind: Kind) -> tuple[str, ...]:
    """The names of all profiles of a kind, sorted; nothing is parsed."""
    return tuple(sorted(path.stem for path in (profiles_folder() / KINDS[kind][0]).glob("*.yaml")))


def find(kind: Kind, name: str) -> Path:
    """The file of a profile by name or alias. Raises InputError with the nearest names."""
    folder = profiles_folder()
    path = folder / KINDS[kind][0] / f"{name}.yaml"
    if "/" not in name and path.is_file():
        return path
    alias = _aliases(folder).get(name.lower())
    if kind == "device" and alias is not None:
        return folder / KINDS[kind][0] / f"{alias}.yaml"
    near = difflib.get_close_matches(name, [*list_names(kind), *_aliases(folder)], n=3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise InputError(f"{kind}: no {name!r} in the catalogue; {hint}`glmplan hardware list` shows all names")


def is_path(name_or_path: str) -> bool:
    """Whether an argument is meant as a file: it ends in .yaml or .yml, or has a folder in it."""
    return name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path or "\\" in name_or_path


def load_device(name_or_path: str) -> Device:
    """A device by name, alias or path. Raises InputError or DocumentError."""
    return _load("device", name_or_path, Device)


def load_node(name_or_path: str) -> Node:
    """A node by name or path."""
    return _load("node", name_or_path, Node)


def load_link(name_or_path: str) -> Link:
    """A link by name or path."""
    return _load("link", name_or_path, Link)


def load_storage(name_or_path: str) -> Storage:
    """A storage system by name or path."""
    return _load("storage", name_or_path, Storage)


def load_calibration(name_or_path: str) -> Calibration:
    """A calibration by name or path."""
    return _load("calibration", name_or_path, Calibration)


def shipped_calibration(stack: str, device: str) -> Calibration | None:
    """The constants that published runs of ``stack`` on ``device`` fitted, where there were enough of them."""
    path = profiles_folder() / "calibrations" / f"{stack}--{device}.yaml"
    return load_calibration(str(path)) if path.is_file() else None


def load_table(name_or_path: str) -> FigureTable:
    """A table of figures (prices, reliability, power) by name or path."""
    return _load("table", name_or_path, FigureTable)


def load_cluster_profile(name_or_path: str) -> ClusterProfile:
    """A cluster as its file says it, names unresolved."""
    return _load("cluster", name_or_path, ClusterProfile)


def load_cluster(name_or_path: str) -> Cluster:
    """A cluster by name or path, at its largest size. Raises InputError or DocumentError."""
    path = _path("cluster", name_or_path)
    profile = read_profile(ClusterProfile, path)
    parts = _Files()
    parts.used[f"cluster {profile.name}"] = sha256(path)
    try:
        return resolve(profile, parts, profiles_folder() / "measurements")
    except InputError as error:
        raise error if str(path) in str(error) else InputError(f"{path}: {error}") from None


def cluster_of(profile: ClusterProfile) -> Cluster:
    """A cluster from a record made in code rather than read from a file."""
    return resolve(profile, _Files(), profiles_folder() / "measurements")


def read_profile(model: type[ProfileT], path: Path, *, trusted: bool | None = None) -> ProfileT:
    """The profile in ``path``. Raises DocumentError with every fault: fields, units and sources.

    ``trusted`` takes the sources' names as they are; the catalogue's own files are, because reading the shared list
    takes a while and ``check_file`` has seen them.
    """
    if trusted is None and path.resolve().is_relative_to(profiles_folder().resolve()):
        return cast("ProfileT", _catalogue_profile(model, path))
    document = read_yaml(path)
    faults = [] if trusted else list(_source_faults(document))
    try:
        record = model.model_validate(document.data)
    except ValidationError as error:
        faults = faults_of(error, document.lines) + faults
    if faults:
        raise DocumentError(document.name, sorted(faults, key=lambda fault: fault.line or 0))
    return record


@lru_cache(maxsize=1024)
def _catalogue_profile(model: type[BaseModel], path: Path) -> BaseModel:
    """A file of the catalogue, read once: records are frozen and the catalogue does not change while a command runs."""
    return read_profile(model, path, trusted=True)


def check_file(path: Path, kind: Kind | None = None) -> str:
    """Reads a profile of any kind (told by its fields where not given) and resolves it. Returns what it is.

    Raises DocumentError with all faults.
    """
    kind = kind or kind_of(read_yaml(path).data)
    record = read_profile(KINDS[kind][1], path, trusted=False)
    if isinstance(record, ClusterProfile):
        load_cluster(str(path))
    return f"{kind} {getattr(record, 'name', path.stem)}"


def kind_of(data: Mapping[str, Any]) -> Kind:
    """Which kind of profile a document is, by the fields that only that kind has."""
    tests: tuple[tuple[Kind, str], ...] = (
        ("cluster", "fabric"),
        ("device", "peak_flops"),
        ("node", "devices"),
        ("cluster", "node"),
        ("calibration", "constants"),
        ("table", "tables"),
        ("storage", "read_bandwidth"),
        ("link", "bandwidth"),
        ("link", "kind"),
        ("storage", "figures"),
    )
    return next((kind for kind, field in tests if field in data), "cluster")


def profile_kind(name_or_path: str) -> Kind:
    """The kind of a profile: a file's by its fields, a name's by the folder it is in; clusters go first.

    Raises InputError with the nearest names of any kind.
    """
    if is_path(name_or_path):
        return kind_of(read_yaml(Path(name_or_path)).data)
    for kind in KINDS:
        if name_or_path in list_names(kind):
            return kind
    if name_or_path.lower() in _aliases(profiles_folder()):
        return "device"
    names = [name for kind in KINDS for name in list_names(kind)]
    near = difflib.get_close_matches(name_or_path, [*names, *_aliases(profiles_folder())], n=3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise InputError(f"no profile {name_or_path!r} in the catalogue; {hint}`glmplan hardware list` shows all names")


def read_named(kind: Kind, name_or_path: str) -> BaseModel:
    """A profile of any kind by name, alias or path, names in it unresolved."""
    return _load(kind, name_or_path, KINDS[kind][1])


class _Files(Parts):
    """Reads the parts of a cluster from the catalogue and notes their hashes."""

    def __init__(self) -> None:
        self.used: dict[str, str] = {}

    def device(self, name: str) -> Device:
        return self._read("device", name, Device)

    def node(self, name: str) -> Node:
        return self._read("node", name, Node)

    def link(self, name: str) -> Link:
        return self._read("link", name, Link)

    def profiles(self) -> Mapping[str, str]:
        return MappingProxyType(dict(self.used))

    def _read(self, kind: Kind, name: str, model: type[ProfileT]) -> ProfileT:
        path = find(kind, name)
        record = read_profile(model, path)
        self.used[f"{kind} {path.stem}"] = sha256(path)
        return record


def _load(kind: Kind, name_or_path: str, model: type[ProfileT]) -> ProfileT:
    return read_profile(model, _path(kind, name_or_path))


def _path(kind: Kind, name_or_path: str) -> Path:
    if is_path(name_or_path):
        return Path(name_or_path)
    return find(kind, name_or_path)


@lru_cache(maxsize=4)
def _aliases(folder: Path) -> Mapping[str, str]:
    return {str(key): str(value) for key, value in read_yaml(folder / "aliases.yaml").data.items()}


@lru_cache(maxsize=4)
def _shared_sources(folder: Path) -> frozenset[str]:
    path = folder / "sources.yaml"
    return frozenset(read_yaml(path).data) if path.is_file() else frozenset()


def _source_faults(document: Document) -> Iterator[Fault]:
    """A fault for every fact whose source is in no list of sources; that it has one is the record's own rule."""
    own = document.data.get("sources")
    known = _shared_sources(profiles_folder()).union(own if isinstance(own, dict) else ())
    for where, key in _facts(document.data, ()):
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; add it to 'sources' of this file"
            line = document.lines.get((*where, "source"))
            yield Fault(field=field_path((*where, "source")), reason=f"unknown source {key!r}{hint}", line=line)


def _facts(data: Any, where: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(data, dict):
        if "value" in data and isinstance(data.get("source"), str):
            yield where, data["source"]
        for key, value in data.items():
            yield from _facts(value, (*where, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _facts(value, (*where, index))
