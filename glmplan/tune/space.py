"""What measured tuning may change: the settings whose effect the cost model does not know, and their values."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout, Recompute, Sharding
from glmplan.layout.rules import divisors
from glmplan.plan.document import Plan
from glmplan.plan.execution import Execution
from glmplan.train.run_record import COMPILED_STACK, planned_execution

Value = int | str | bool
Setting = Mapping[str, Value]
"""Axis name -> value; one for every axis of a space."""

MICRO_BATCHES = 6
"""How many micro-batches are tried: the divisors nearest to the plan's own."""
BUCKETS = (1, 2, 4)
PREFETCH = (0, 1, 2)
LOADERS = (0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One setting with the values to try, the starting plan's among them."""

    name: str
    values: tuple[Value, ...]
    start: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningSpace:
    """All settings to try for one plan. Axes that have no effect on the plan's layout are left out."""

    layout: ParallelLayout
    """The starting plan's."""
    execution: Execution
    """The starting plan's."""
    axes: tuple[Axis, ...]

    def start(self) -> dict[str, Value]:
        """The starting plan itself."""
        return {axis.name: axis.start for axis in self.axes}

    def size(self) -> int:
        """Number of different settings."""
        count = 1
        for axis in self.axes:
            count *= len(axis.values)
        return count

    def settings(self, names: Sequence[str] = ()) -> list[dict[str, Value]]:
        """Every setting over the axes ``names`` (all where none is given), the others as in the starting plan."""
        varied = [axis for axis in self.axes if not names or axis.name in names]
        return [
            self.start() | dict(zip((axis.name for axis in varied), values, strict=True))
            for values in product(*(axis.values for axis in varied))
        ]

    def layout_of(self, setting: Setting) -> ParallelLayout:
        """The layout with the setting's micro-batch and recomputation; gradient accumulation keeps the batch."""
        start = self.layout
        micro_batch = int(setting.get("micro_batch", start.micro_batch))
        return start.model_copy(
            update={
                "micro_batch": micro_batch,
                "grad_accum": start.micro_batch * start.grad_accum // micro_batch,
                "recompute": Recompute(str(setting.get("recompute", start.recompute))),
            }
        )

    def execution_of(self, setting: Setting) -> Execution:
        """The trainer's settings."""
        return self.execution.model_copy(update={name: setting[name] for name in EXECUTION_AXES if name in setting})

    def label(self, setting: Setting) -> str:
        """Only what the setting varies, such as ``mb4 full eager bucket2``."""
        names = {"micro_batch": "mb{}", "recompute": "recompute {}"}
        parts = [text.format(setting[name]) for name, text in names.items() if name in setting]
        return " ".join([*parts, self.execution_of(setting).label()]).strip() or "as planned"


EXECUTION_AXES = (
    "compile_model",
    "threads",
    "reshard_after_forward",
    "layers_per_bucket",
    "prefetch_layers",
    "loader_threads",
)
AXES = ("micro_batch", "recompute", *EXECUTION_AXES)


def tuning_space(plan: Plan, *, cores: int, only: Sequence[str] = ()) -> TuningSpace:
    """The space of ``plan`` on a machine with ``cores`` usable cores, limited to the axes ``only``.

    Raises InputError for an unknown axis, or where none of the axes asked for has an effect.
    """
    for name in only:
        if name not in AXES:
            near = difflib.get_close_matches(name, AXES, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"--only: no setting {name!r}; {hint}the settings are {', '.join(AXES)}")
    layout, execution = plan.chosen.layout, planned_execution(plan, 0)
    axes = [axis for axis in _axes(plan, layout, execution, cores) if len(axis.values) > 1]
    chosen = tuple(axis for axis in axes if not only or axis.name in only)
    if not chosen:
        effective = ", ".join(axis.name for axis in axes)
        raise InputError(f"--only: {', '.join(only)} has one value for this layout; use {effective}")
    return TuningSpace(layout=layout, execution=execution, axes=chosen)


def _axes(plan: Plan, layout: ParallelLayout, execution: Execution, cores: int) -> list[Axis]:
    arch = plan.request.job.architecture
    communicates = layout.dp > 1
    gathers = communicates and layout.sharding is not Sharding.NONE
    compiled = execution.compile_model
    share = max(1, cores // layout.world_size)
    threads = execution.threads or share
    own_reshard = layout.sharding not in (Sharding.ZERO1, Sharding.ZERO2)
    reshard = own_reshard if execution.reshard_after_forward is None else execution.reshard_after_forward
    buckets = tuple(count for count in BUCKETS if count <= arch.layers)
    return [
        Axis(name="micro_batch", values=_micro_batches(layout), start=layout.micro_batch),
        Axis(name="recompute", values=tuple(str(kind) for kind in Recompute), start=str(layout.recompute)),
        Axis(
            name="compile_model",
            values=(False, True),
            start=plan.request.stack == COMPILED_STACK if compiled is None else compiled,
        ),
        Axis(
            name="threads",
            values=_with(threads, (1, share, min(cores, 2 * share))) if plan.cluster.device_kind == "cpu" else (),
            start=threads,
        ),
        Axis(name="reshard_after_forward", values=(False, True) if gathers else (), start=reshard),
        Axis(
            name="layers_per_bucket",
            values=_with(execution.layers_per_bucket, buckets) if communicates else (),
            start=execution.layers_per_bucket,
        ),
        Axis(
            name="prefetch_layers",
            values=_with(execution.prefetch_layers, PREFETCH) if gathers else (),
            start=execution.prefetch_layers,
        ),
        Axis(
            name="loader_threads",
            values=_with(execution.loader_threads, LOADERS),
            start=execution.loader_threads,
        ),
    ]


def _with(start: int, values: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted({start, *values}))


def _micro_batches(layout: ParallelLayout) -> tuple[int, ...]:
    """Divisors of the sequences of one replica, those nearest (by ratio) to the plan's own."""
    found = divisors(layout.micro_batch * layout.grad_accum)
    near = sorted(found, key=lambda count: (max(count, layout.micro_batch) / min(count, layout.micro_batch), count))
    return tuple(sorted(near[:MICRO_BATCHES]))
