"""The operator graph counts the same FLOPs as the architecture's formula, by a second route."""

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.architecture.catalog import load_architecture
from glmplan.architecture.model_flops import model_flops_per_token
from glmplan.architecture.transformer import Architecture
from glmplan.software.stack import Kernels
from glmplan.workload.graph import BlockKind, step_graph, workload_blocks
from glmplan.workload.job import TrainingJob
from glmplan.workload.operation import Attention, Matmul
from tests.small_jobs import MODELS, model
from tests.strategies import architectures

FLASH, UNFUSED = Kernels(attention="flash"), Kernels(attention="unfused")


def graph_flops(arch: Architecture, seq_len: int, kernels: Kernels) -> dict[str, float]:
    """Forward FLOPs of one sequence, by the parts of ``ModelFlops``."""
    parts = {"matmul": 0.0, "attention": 0.0, "head": 0.0}
    job = TrainingJob(architecture=arch, seq_len=seq_len, global_batch=1)
    for block in workload_blocks(job, kernels):
        for operation in block.operations():
            if isinstance(operation, Matmul):
                part = "head" if block.kind is BlockKind.HEAD else "matmul"
                parts[part] += block.count * float(operation.flops)
            elif isinstance(operation, Attention):
                parts["attention"] += block.count * float(operation.flops)
    return parts


def assert_routes_agree(arch: Architecture, seq_len: int) -> None:
    """With the causal half (flash) and in full (unfused). Backward is twice forward, so a third is forward."""
    for kernels, halved in ((FLASH, True), (UNFUSED, False)):
        formula = model_flops_per_token(arch, seq_len, causal_half=halved)
        graph = graph_flops(arch, seq_len, kernels)
        for part, value in graph.items():
            assert value == pytest.approx(getattr(formula, part) * seq_len / 3, rel=1e-9), part


@pytest.mark.parametrize("kind", MODELS)
def test_graph_and_formula_agree_for_every_kind_of_model(kind: str) -> None:
    assert_routes_agree(model(kind), 256)


@pytest.mark.parametrize("name", ["gpt3-175b", "llama3-70b", "mixtral-8x7b", "deepseek-v3", "t5-11b", "qwen3-30b-a3b"])
def test_graph_and_formula_agree_for_published_models(name: str) -> None:
    assert_routes_agree(load_architecture(name), 2048)


@settings(max_examples=60)
@given(arch=architectures(), seq_len=st.sampled_from([64, 256, 512]))
def test_graph_and_formula_agree_for_any_decoder(arch: Architecture, seq_len: int) -> None:
    if (
        arch.moe is not None and arch.moe.shared_expert_gate
    ):  # one scalar a token: in the formula, no operation of its own
        arch = arch.model_copy(update={"moe": arch.moe.model_copy(update={"shared_expert_gate": False})})
    assert_routes_agree(arch, seq_len)


@pytest.mark.parametrize("seq_len", [2048, 4096, 8192, 32768])
def test_a_sliding_window_counts_the_keys_that_are_seen(seq_len: int) -> None:
    arch = load_architecture("mistral-7b")
    assert arch.sliding_window == 4096
    formula = model_flops_per_token(arch, seq_len, causal_half=True)
    assert graph_flops(arch, seq_len, FLASH)["attention"] == pytest.approx(formula.attention * seq_len / 3)


@pytest.mark.parametrize("kind", MODELS)
def test_blocks_stand_in_forward_order_and_hold_every_layer(kind: str) -> None:
    arch = model(kind)
    graph = step_graph(TrainingJob(architecture=arch, seq_len=64, global_batch=1), FLASH)
    order = list(nx.topological_sort(graph))
    assert (order[0], order[-1]) == ("embedding", "head")
    counts = {name: graph.nodes[name]["block"].count for name in order}
    assert counts.pop("embedding") == counts.pop("head") == 1
    assert sum(counts.values()) == arch.total_layers
    assert counts.get("expert_layer", 0) == arch.moe_layers


@settings(max_examples=30)
@given(arch=architectures())
def test_every_block_is_an_acyclic_graph_from_one_entry_to_one_exit(arch: Architecture) -> None:
    for block in workload_blocks(TrainingJob(architecture=arch, seq_len=64, global_batch=1), FLASH):
        assert nx.is_directed_acyclic_graph(block.graph)
        assert nx.is_weakly_connected(block.graph)
        assert [degree for _, degree in block.graph.in_degree()].count(0) == 1
        assert [degree for _, degree in block.graph.out_degree()].count(0) == 1
