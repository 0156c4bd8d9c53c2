"""Scaling curves: one job planned anew on growing numbers of devices.

Strong scaling keeps the global batch, weak scaling the batch of a device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from glmplan.errors import DoesNotFit, InputError
from glmplan.hardware.calibration import Calibration
from glmplan.hardware.catalog import load_cluster
from glmplan.plan.document import Option
from glmplan.plan.request import PlanRequest
from glmplan.search.planner import load_problem, make_plan

Mode = Literal["strong", "weak"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The best plan on one number of devices."""

    num_gpus: int
    global_batch: int
    option: Option | None
    """None where nothing fits."""
    obstacle: str
    """Why nothing fits; empty where something does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingCurve:
    """The points of one mode, by number of devices. The smallest that fits is the reference."""

    mode: Mode
    points: tuple[Point, ...]

    @property
    def reference(self) -> Point | None:
        """The smallest number of devices on which the job fits."""
        return next((point for point in self.points if point.option is not None), None)

    def speedup(self, point: Point) -> float | None:
        """Tokens per second over those of the reference."""
        reference = self.reference
        if point.option is None or reference is None or reference.option is None:
            return None
        return point.option.estimate.tokens_per_s / reference.option.estimate.tokens_per_s

    def efficiency(self, point: Point) -> float | None:
        """Tokens per second and device over those of the reference."""
        speedup, reference = self.speedup(point), self.reference
        return None if speedup is None or reference is None else speedup * reference.num_gpus / point.num_gpus


def scaling_curve(
    request: PlanRequest,
    counts: Sequence[int],
    mode: Mode,
    calibration: Calibration | None = None,
    progress: Callable[[str, float], None] = lambda phase, fraction: None,
) -> ScalingCurve:
    """``request`` planned on every number of devices in ``counts``; its global batch is that of the smallest.

    Raises InputError for a number the cluster cannot have or (weak) a batch that does not grow in whole sequences,
    DoesNotFit where nothing fits on any of them.
    """
    counts = sorted(set(counts))
    requests = [_request(request, counts[0], count, mode) for count in counts]
    cluster = load_cluster(request.cluster)
    for count in counts:
        cluster.sized(count)
    points = []
    for index, sized in enumerate(requests):
        progress(f"{mode} scaling", index / len(requests))
        option, obstacle = None, ""
        try:
            option = make_plan(load_problem(sized, calibration)).chosen
        except DoesNotFit as error:
            obstacle = str(error)
        batch = sized.job.global_batch
        points.append(Point(num_gpus=sized.num_gpus, global_batch=batch, option=option, obstacle=obstacle))
    if all(point.option is None for point in points):
        raise DoesNotFit(f"scale: nothing fits on any of {', '.join(map(str, counts))} GPUs; {points[-1].obstacle}")
    return ScalingCurve(mode=mode, points=tuple(points))


def _request(request: PlanRequest, smallest: int, count: int, mode: Mode) -> PlanRequest:
    batch = request.job.global_batch
    if mode == "weak":
        if batch * count % smallest:
            raise InputError(
                f"--global-batch: {batch} sequences on {smallest} GPUs are {batch * count / smallest:g} on {count} in"
                f" weak scaling, no whole number; use a multiple of {smallest} or other GPU counts"
            )
        batch = batch * count // smallest
    job = request.job.model_copy(update={"global_batch": batch})
    return request.model_copy(update={"num_gpus": count, "job": job})
