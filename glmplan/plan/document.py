"""The plan: request, chosen layout, estimate, runners-up, provenance. Read and written as ``plan.json``."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from glmplan.cost.estimate import StepEstimate
from glmplan.documents import check, json_text, read_json, write_text
from glmplan.errors import DocumentError, Fault
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.plan.execution import Tuning
from glmplan.plan.request import PlanRequest

SCHEMA_VERSION = 1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Option(_Record):
    """A layout with its estimate."""

    layout: ParallelLayout
    estimate: StepEstimate


class StageSummary(_Record):
    """What splitting the layers unevenly brought."""

    even_step_time_s: float
    """Of the best layout with even stages."""
    bound_step_time_s: float
    """No split of any layout that fits with even stages has a shorter step."""
    programs: int
    """Layouts whose split was solved for."""
    solver: str


class SearchSummary(_Record):
    """What the search looked at. Seconds are left out: the same request gives the same bytes."""

    considered: int
    """Layouts whose rules, memory and (if they fit) time were evaluated."""
    feasible: int
    rejected: dict[str, int]
    """Reason -> number of layouts."""
    pruned: dict[str, int] = {}
    """Reason -> legal layouts that needed no look: by proof none of them is among the best, or fits. Not considered."""
    optimal: bool
    """True when no legal layout of the space is predicted to be better."""
    gap: float
    """Upper bound of the relative distance to the best layout; 0 when optimal."""
    stages: StageSummary | None = None
    """None with even stages."""


class Assumption(_Record):
    """A number that the estimate rests on, with its grade and source."""

    name: str
    value: str
    """With its unit, as text for people."""
    grade: str
    """measured, fitted, read, derived, recalled or assumed."""
    source: str


class Provenance(_Record):
    """What the plan was made from."""

    glmplan_version: str
    profiles: dict[str, str]
    """Profile or preset -> SHA-256 of its content."""
    seed: int
    assumptions: tuple[Assumption, ...]


class ClusterSummary(_Record):
    """What the plan's readers (report, launcher, trainer) need of the cluster."""

    name: str
    device: str
    device_kind: str
    """``cuda``, ``rocm``, ``cpu`` or another name of the device's runtime."""
    devices_per_node: int
    num_nodes: int
    memory_capacity_bytes: float
    peak_flops_per_s: float
    """At the job's precision, dense."""


class Binding(_Record):
    """A resource of the machine or the stack that the step waits for."""

    resource: str
    """In words."""
    share: float
    """Of the step: per cent of throughput that one per cent more of the resource gives, the layout as it is."""


class Surroundings(_Record):
    """What the chosen layout hangs on, and the layouts around it."""

    bindings: tuple[Binding, ...]
    """Strongest first; together they make at most the whole step."""
    whole_space: bool
    """Every legal layout was looked at; else those with degrees and micro-batch within a factor of two."""
    different: Option | None
    """The best that fits with other tensor, pipeline, context or expert degrees."""
    larger: tuple[Option, ...]
    """Faster by a hundredth or more, with up to twice the memory: the leanest of them, then the fastest."""
    fitting: Option | None = None
    """Where the chosen layout is too large: one that fits, with the fewest fields changed."""


class Plan(_Record):
    """A plan document."""

    schema_version: int = SCHEMA_VERSION
    request: PlanRequest
    cluster: ClusterSummary
    search: SearchSummary
    chosen: Option
    alternatives: tuple[Option, ...]
    """The next best layouts, best first, without the chosen one."""
    surroundings: Surroundings | None = None
    """What binds the chosen layout and what lies around it; None in plans that nobody asked to explain."""
    explanation: tuple[str, ...] = ()
    """Why this layout, in sentences."""
    assumptions: tuple[str, ...] = ()
    """What the prediction takes for granted although nothing measured supports it, in sentences."""
    tuning: Tuning | None = None
    """What `glmplan tune` measured and settled for the chosen layout; None before."""
    provenance: Provenance


def read_plan(path: Path) -> Plan:
    """The plan in ``path``. Raises DocumentError when it is broken, or of a newer schema version."""
    document = read_json(path)
    version = document.data.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        reason = f"{version} is newer than this glmplan reads ({SCHEMA_VERSION}); update glmplan or plan again"
        raise DocumentError(document.name, [Fault(field="schema_version", reason=reason)])
    return check(Plan, document)


def plan_text(plan: Plan) -> str:
    """The plan as JSON; the same plan gives the same bytes."""
    return json_text(plan.model_dump(mode="json"))


def write_plan(plan: Plan, path: Path) -> None:
    """Writes ``plan`` atomically. Raises InputError when ``path`` cannot be written."""
    write_text(path, plan_text(plan))
