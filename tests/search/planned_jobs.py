"""Small requests that several tests of this folder and of the command line plan."""

from functools import cache
from typing import Any

from glmplan.plan.document import Plan
from glmplan.plan.request import PlanRequest
from glmplan.search.planner import Problem, load_problem, make_plan
from tests.small_jobs import job_of, model

WIDE = model(layers=8, hidden=1024, heads=16, kv_heads=8, head_dim=64, ffn_hidden=4096, vocab=8192)
"""Large enough that compute, memory and links all matter."""


def request_of(**fields: Any) -> PlanRequest:
    """A small decoder on two DGX H100 nodes."""
    job = job_of(WIDE, seq_len=2048, global_batch=fields.pop("global_batch", 32))
    plain: dict[str, Any] = {"cluster": "dgx-h100-pod", "num_gpus": 16, "stack": "megatron-core", "top": 2}
    return PlanRequest(job=job, **(plain | fields))


@cache
def small_problem() -> Problem:
    """That request, loaded."""
    return load_problem(request_of())


@cache
def small_plan() -> Plan:
    """Its plan."""
    return make_plan(small_problem())
