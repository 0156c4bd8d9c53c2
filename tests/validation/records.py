"""Hand-made measurement records, a predictor whose answer is known, and comparisons without a prediction."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glmplan.cost.estimate import Grade, MemoryBreakdown, StepEstimate, TimeBreakdown
from glmplan.hardware.cluster import Cluster
from glmplan.layout.parallel_layout import LayoutTable
from glmplan.plan.measurement import Measurement
from glmplan.software.stack import Stack
from glmplan.validation.case import CaseInputs, to_inputs
from glmplan.validation.comparison import Comparison, Membership
from glmplan.workload.job import TrainingJob

# GPT of 1.3 billion parameters on one node, the numbers of no publication.
RECORD: dict[str, Any] = {
    "id": "sample",
    "source": {"title": "A sample", "ref": "none", "year": 2026, "how": "table"},
    "software": "megatron-lm",
    "model": {
        "name": "gpt-1.3b", "family": "decoder", "layers": 24, "hidden": 2048, "heads": 16, "kv_heads": 16,
        "head_dim": 128, "ffn_hidden": 8192, "gated_mlp": False, "vocab": 51200, "tied_embeddings": True,
        "params_b": 1.3,
    },
    "seq_len": 2048,
    "hardware": {"gpu": "a100-sxm-80gb", "gpus": 8, "gpus_per_node": 8, "intra_node": "nvlink3"},
    "layout": {
        "tp": 2, "pp": 1, "dp": 4, "cp": 1, "ep": 1, "sequence_parallel": False, "sharding": "none", "micro_batch": 4,
        "global_batch": 64, "recompute": "none", "precision": "bf16", "optimizer": "adam",
    },
    "measured": {"step_time_s": 1.0},
    "missing": [],
    "configuration": "a",
    "sweep": "s",
    "trust": "A",
    "kind": "pretrain",
}  # fmt: skip


def record(**changes: Any) -> dict[str, Any]:
    """The sample record with changes; ``layout__tp=4`` changes one field of a section, None removes it."""
    data = copy.deepcopy(RECORD)
    for path, value in changes.items():
        section, _, name = path.partition("__")
        target, key = (data[section], name) if name else (data, section)
        if value is None:
            target.pop(key, None)
        else:
            target[key] = value
    return data


def measurement(**changes: Any) -> Measurement:
    """The sample record with changes, as a measurement."""
    return Measurement.model_validate(record(**changes))


def inputs(**changes: Any) -> CaseInputs:
    """The inputs of the sample record with changes; it must be predictable."""
    found = to_inputs(measurement(**changes))
    assert isinstance(found, CaseInputs), found
    return found


def write_lines(path: Path, *records: dict[str, Any]) -> Path:
    """A case file of ``records``."""
    path.write_text("".join(json.dumps(item) + "\n" for item in records))
    return path


def comparison(name: str, *, measured: float, predicted: float, **changes: Any) -> Comparison:
    """A step time beside its prediction, with an interval of 10 % to each side."""
    membership = {"configuration": name, "sweep": "", "trusted": True, "labels": {}} | {
        key: changes.pop(key) for key in ("configuration", "sweep", "trusted", "labels") if key in changes
    }
    labels = dict.fromkeys(("source", "software", "stack", "device", "model size", "technique"), "all")
    labels |= {"precision": "bf16", "grade": "transferred"} | membership.pop("labels")
    values: dict[str, Any] = {
        "id": name,
        "quantity": "step_time_s",
        "measured": measured,
        "predicted": predicted,
        "low90": 0.9 * predicted,
        "high90": 1.1 * predicted,
        "grade": "transferred",
        "error": predicted / measured - 1,
        "membership": Membership(labels=labels, **membership),
        "tokens_per_s_per_gpu": (1 / measured, 1 / predicted),
    }
    return Comparison(**(values | changes))


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeTable:
    """Estimates of a table, all parts but the total left at nought."""

    step_time_s: npt.NDArray[np.float64]

    def row(self, index: int) -> StepEstimate:
        """A step of the time that was computed, 11 GiB of memory of which 1 GiB is reserve."""
        seconds = float(self.step_time_s[index])
        nothing = dict.fromkeys(TimeBreakdown.model_fields, 0.0)
        held = dict.fromkeys(MemoryBreakdown.model_fields, 0.0)
        return StepEstimate(
            step_time_s=seconds,
            step_time_low90_s=0.8 * seconds,
            step_time_high90_s=1.25 * seconds,
            tokens_per_s=1.0,
            tokens_per_s_per_gpu=1.0,
            mfu=0.5,
            hfu=0.5,
            model_flops=1.0,
            peak_memory_bytes=11 * 2.0**30,
            peak_memory_low90_bytes=10.5 * 2.0**30,
            peak_memory_high90_bytes=12 * 2.0**30,
            memory_capacity_bytes=80 * 2.0**30,
            memory=MemoryBreakdown(**(held | {"parameters_bytes": 10 * 2.0**30, "reserve_bytes": 2.0**30})),
            time=TimeBreakdown(**(nothing | {"forward_s": seconds})),
            grade=Grade.TRANSFERRED,
        )


def fake_estimate(table: LayoutTable, job: TrainingJob, cluster: Cluster, stack: Stack) -> FakeTable:
    """A made-up law in three constants: compute by micro-batches, traffic by layers, and what is fixed."""
    compute = table.micro_batch * table.grad_accum / (table.tp * table.pp) * job.seq_len * 1e-5
    traffic = job.architecture.layers * table.grad_accum * table.micro_batch * 1e-4
    seconds = (
        stack["matmul_time_factor"] * compute
        + stack["elementwise_traffic_factor"] * traffic
        + stack["fixed_step_s"] * np.ones(len(table))
    )
    return FakeTable(step_time_s=np.asarray(seconds, dtype=np.float64))
