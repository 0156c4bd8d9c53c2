"""Small models, jobs and legal layouts for tests of relations. Sizes are for speed, not for realism."""

from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from glmplan.architecture.transformer import Architecture, LatentAttention, MixtureOfExperts
from glmplan.cost.step import CostModel, cost_model
from glmplan.hardware.catalog import load_cluster
from glmplan.hardware.cluster import Cluster
from glmplan.layout.candidates import candidates
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import LayoutTable
from glmplan.layout.rules import Context
from glmplan.software.catalog import load_stack
from glmplan.software.stack import Support
from glmplan.workload.job import TrainingJob

EVERYTHING = Support(
    shardings=("none", "zero1", "zero2", "zero3", "fsdp", "hsdp"),
    schedules=("gpipe", "1f1b", "interleaved"),
    recompute_layers=True,
)
MODELS = ("dense", "experts", "latent", "encoder-decoder")


def model(kind: str = "dense", **changes: Any) -> Architecture:
    """A small architecture of the given kind."""
    fields: dict[str, Any] = {
        "name": kind,
        "layers": 4,
        "hidden": 128,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 32,
        "ffn_hidden": 384,
        "vocab": 1024,
    }
    if kind == "experts":
        fields["moe"] = MixtureOfExperts(experts=4, top_k=2, expert_ffn_hidden=192, shared_experts=1)
    if kind == "latent":
        fields["mla"] = LatentAttention(
            q_lora_rank=48, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16
        )
        fields["moe"] = MixtureOfExperts(experts=4, top_k=2, expert_ffn_hidden=192, dense_layers=1)
    if kind == "encoder-decoder":
        fields |= {"family": "encoder-decoder", "decoder_layers": 2, "kv_heads": 4}
    return Architecture(**(fields | changes))


def job_of(architecture: Architecture | None = None, **changes: Any) -> TrainingJob:
    """A small job."""
    fields: dict[str, Any] = {"architecture": architecture or model(), "seq_len": 256, "global_batch": 8}
    return TrainingJob(**(fields | changes))


def context_of(job: TrainingJob, num_devices: int, support: Support = EVERYTHING) -> Context:
    """The context of rules, for a stack that can do everything."""
    return Context(job=job, num_devices=num_devices, support=support)


def all_candidates(context: Context, choices: Choices | None = None) -> LayoutTable:
    """Every legal layout as one table."""
    return LayoutTable.concatenate([batch.table for batch in candidates(context, choices or Choices())])


@cache
def cluster_of(name: str, num_devices: int) -> Cluster:
    """A catalogue cluster, loaded once."""
    return load_cluster(name).sized(num_devices)


@cache
def costs(kind: str = "dense", num_devices: int = 16, stack: str = "megatron-core") -> CostModel:
    """The cost model of a small job on DGX A100 nodes."""
    return cost_model(job_of(model(kind)), cluster_of("dgx-a100-pod", num_devices), load_stack(stack))


@cache
def legal_layouts(kind: str = "dense", num_devices: int = 16, stack: str = "megatron-core") -> LayoutTable:
    """Every legal layout of that job under that stack."""
    context = context_of(job_of(model(kind)), num_devices, load_stack(stack).support)
    return all_candidates(context)


def some_of(table: LayoutTable, count: int, seed: int = 0) -> LayoutTable:
    """``count`` rows of ``table`` drawn without repetition."""
    rows = np.random.default_rng(seed).permutation(len(table))[:count]
    return table.take(np.sort(rows))


@st.composite
def priced_layouts(draw: st.DrawFn) -> tuple[CostModel, LayoutTable]:
    """A cost model with one legal layout of its job."""
    kind = draw(st.sampled_from(MODELS))
    table = legal_layouts(kind)
    row = draw(st.integers(0, len(table) - 1))
    return costs(kind), table.take(slice(row, row + 1))
