"""A co-design result as rows of text and as a JSON document."""

import shlex
from typing import Any

from glmplan.search.codesign import CodesignResult
from glmplan.search.codesign_evaluation import Planned
from glmplan.search.codesign_request import OWN_FABRIC, CodesignRequest, Goal
from glmplan.search.codesign_space import CodesignSpace, Design

SCHEMA_VERSION = 1
HEADERS = (
    "days",
    "days, 90 % interval",
    "USD",
    "energy, MWh",
    "GPUs",
    "cluster",
    "network",
    "precision",
    "batch",
    "stack",
    "layout",
    "MFU",
)


def front_rows_text(result: CodesignResult) -> list[list[str]]:
    """One row a design of the front, in the order of the first goal; units are in the headers."""
    space = CodesignSpace(request=result.request)
    return [_row(space.design(index), planned) for index, planned in result.front]


def _row(design: Design, planned: Planned) -> list[str]:
    goals, estimate = planned.goals, planned.estimate
    usd, kwh = goals.get(Goal.USD), goals.get(Goal.ENERGY)
    low, high = days_interval(planned)
    return [
        f"{goals[Goal.DAYS]:,.1f}",
        f"{low:,.1f} - {high:,.1f}",
        "-" if usd is None else f"{usd:,.0f}",
        "-" if kwh is None else f"{kwh / 1000:,.1f}",
        str(design.gpus),
        design.cluster,
        fabric_text(design),
        str(design.precision),
        str(design.global_batch),
        design.stack,
        planned.layout.label(),
        f"{estimate.mfu:.1%}",
    ]


def days_interval(planned: Planned) -> tuple[float, float]:
    """The days' 90 % interval: that of the step time."""
    estimate, days = planned.estimate, planned.goals[Goal.DAYS]
    low, high = estimate.step_time_low90_s, estimate.step_time_high90_s
    return days * low / estimate.step_time_s, days * high / estimate.step_time_s


def fabric_text(design: Design) -> str:
    """The network under the cluster, such as ``own`` or ``ib-hdr x4``."""
    cards = "" if design.fabric.nics is None else f" x{design.fabric.nics}"
    return f"{design.fabric.link}{cards}"


def document(result: CodesignResult) -> dict[str, Any]:
    """The result for JSON; the same study gives the same bytes."""
    space = CodesignSpace(request=result.request)
    return {
        "schema_version": SCHEMA_VERSION,
        "request": result.request.model_dump(mode="json"),
        "search": {
            "considered": result.considered,
            "space": result.space,
            "exhaustive": result.exhaustive,
            "rejected": result.rejected,
        },
        "front": [_member(result.request, space.design(index), planned) for index, planned in result.front],
        "notes": notes(result),
    }


def _member(request: CodesignRequest, design: Design, planned: Planned) -> dict[str, Any]:
    low, high = days_interval(planned)
    estimate = planned.estimate
    return {
        "cluster": design.cluster,
        "fabric": design.fabric.model_dump(mode="json"),
        "gpus": design.gpus,
        "precision": str(design.precision),
        "global_batch": design.global_batch,
        "stack": design.stack,
        "storage": None if design.storage is None else design.storage.model_dump(mode="json"),
        "goals": {goal.value: value for goal, value in planned.goals.items()},
        "days_low90": low,
        "days_high90": high,
        "watts": planned.watts,
        "checkpoint_fraction": planned.checkpoint_fraction,
        "layout": planned.layout.model_dump(mode="json"),
        "step_time_s": estimate.step_time_s,
        "mfu": estimate.mfu,
        "peak_memory_bytes": estimate.peak_memory_bytes,
        "grade": str(estimate.grade),
        "plan_command": plan_command(request, design),
    }


def plan_command(request: CodesignRequest, design: Design) -> str | None:
    """The command that plans a design of the front in full; None where its network is not the cluster's own."""
    if design.fabric.link != OWN_FABRIC or design.fabric.nics is not None:
        return None
    words = ["glmplan", "plan", "--model", request.model, "--cluster", design.cluster, "--gpus", str(design.gpus)]
    words += ["--global-batch", str(design.global_batch), "--seq-len", str(request.seq_len)]
    words += ["--precision", str(design.precision), "--optimizer", str(request.optimizer)]
    words += ["--stack", design.stack, "--tokens", f"{request.tokens:.12g}"]
    return shlex.join([*words, "--memory-margin", f"{request.memory_margin:g}", "-o", "plan.json"])


def notes(result: CodesignResult) -> list[str]:
    """What the reader must know of the figures, in sentences."""
    request = result.request
    found = [
        f"All {result.space:,} designs were evaluated: the front is exact within the cost model."
        if result.exhaustive
        else f"{result.considered:,} of {result.space:,} designs were evaluated: others may be better still."
    ]
    if result.rejected:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in result.rejected.items())
        found.append(f"Designs that cannot serve: {reasons}.")
    found.append("Days are without failures and restarts.")
    if Goal.USD in request.goals:
        found.append("Money is the profiles' price of a device-hour times the run; other networks cost what was given.")
    if Goal.ENERGY in request.goals:
        found.append(
            "Energy is an estimate, not a measurement: the node's rating (or its devices' design power) times the share"
            f" that training was measured to draw, times a PUE of {request.pue:g}; networks and storage are left out."
        )
    if request.storages:
        found.append("Storage counts through blocking checkpoints at its full write bandwidth only.")
    return found
