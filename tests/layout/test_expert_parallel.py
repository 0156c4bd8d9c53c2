"""Where tokens go on their way to the experts, and how full the fullest rank is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmplan.architecture.transformer import MixtureOfExperts
from glmplan.layout.communication import Collective, Communication, Purpose, Scatter
from glmplan.layout.expert_parallel import expert_communications, fullest_rank
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout
from glmplan.layout.partition import partition_block
from glmplan.layout.placement import expert_data_group, expert_group, expert_shard_group
from glmplan.layout.stages import split_into_stages
from glmplan.layout.state_shards import state_shards
from glmplan.precision import Precision
from glmplan.software.experts import ExpertKernels
from glmplan.software.stack import Kernels
from glmplan.workload.graph import BlockKind, workload_blocks
from glmplan.workload.mlp import SORTING
from glmplan.workload.operation import Matmul, Operation, Stream
from tests.small_jobs import job_of, model

MOE = MixtureOfExperts(experts=64, top_k=8, expert_ffn_hidden=128)
EVEN = ExpertKernels(routing="contiguous", load_violation=0.0)
FLASH = Kernels(attention="flash")
SEQ_LEN = 256


def table_of(**changes: object) -> LayoutTable:
    fields: dict[str, object] = {"dp": 8, "grad_accum": 1} | changes
    return LayoutTable.of(ParallelLayout.model_validate(fields))


@pytest.mark.parametrize(("pool", "targets", "units"), [(64, 8, 8), (256, 8, 32), (128, 4, 16), (8, 2, 8)])
def test_reached_ranks_match_random_draws(pool: int, targets: int, units: int) -> None:
    rng = np.random.default_rng(0)
    draws = np.array([rng.choice(pool, targets, replace=False) // (pool // units) for _ in range(4000)])
    counted = np.mean([len(set(row)) for row in draws])
    assert float(Scatter(targets=targets, pool=pool).reached(float(units))) == pytest.approx(counted, rel=0.02)


def test_a_fake_gate_s_neighbours_lie_on_one_rank() -> None:
    """NeMo AutoModel's FakeBalancedGate: experts 8 t to 8 t + 7; 16 experts a rank hold them all."""
    scatter = Scatter(targets=8, pool=128, contiguous=True)
    assert float(scatter.reached(8.0)) == 1.0
    assert float(scatter.reached(64.0)) == 4.0


@given(units=st.sampled_from([1, 2, 4, 8, 16, 32, 64]), targets=st.integers(1, 8))
def test_no_item_reaches_more_ranks_than_there_are_or_than_it_has_targets(units: int, targets: int) -> None:
    reached = float(Scatter(targets=targets, pool=64).reached(float(units)))
    assert 1.0 - 1e-9 <= reached <= min(units, targets) + 1e-9


def test_the_fullest_rank_matches_a_simulated_multinomial() -> None:
    ranks, tokens = 8, 512
    kernels = ExpertKernels(load_violation=0.0)
    predicted = float(np.asarray(fullest_rank(MOE, table_of(ep=ranks), float(tokens), kernels))[0])
    rng = np.random.default_rng(0)
    counts = rng.multinomial(tokens * MOE.top_k * ranks, [1 / ranks] * ranks, size=2000)
    simulated = float(np.mean(counts.max(axis=1)) / (tokens * MOE.top_k))
    assert predicted - 1 == pytest.approx(simulated - 1, rel=0.5)  # the extreme value's bound lies above the mean


def test_a_router_s_own_spread_counts_in_full_where_every_rank_has_one_expert() -> None:
    kernels = ExpertKernels(load_violation=0.5, routing="contiguous")
    alone = float(np.asarray(fullest_rank(MOE, table_of(dp=64, ep=64), 4096.0, kernels))[0])
    shared = float(np.asarray(fullest_rank(MOE, table_of(ep=8), 4096.0, kernels))[0])
    assert alone == pytest.approx(1.5)
    assert 1.0 < shared < alone


def test_one_rank_has_no_fullest_one() -> None:
    assert float(np.asarray(fullest_rank(MOE, table_of(ep=1), 64.0, ExpertKernels(load_violation=0.7)))[0]) == 1.0


@pytest.mark.parametrize("name", ["permute", "unpermute"])
def test_an_all_gather_dispatch_gathers_on_the_way_out_and_scatters_sums_on_the_way_back(name: str) -> None:
    sent = expert_communications(name, table_of(ep=8), 100.0, MOE, ExpertKernels(dispatch="all_gather"), 1.0)
    kinds = {message.backward: message.collective for message in sent}
    outward = name == "permute"
    assert kinds[False] is (Collective.ALL_GATHER if outward else Collective.REDUCE_SCATTER)
    assert kinds[True] is (Collective.REDUCE_SCATTER if outward else Collective.ALL_GATHER)
    assert all(float(np.asarray(message.bytes)[0]) == 800.0 for message in sent)


def test_whole_experts_take_the_tensor_parallel_ranks_first() -> None:
    """Megatron-Core's order: with one rank an expert, tp 2 and dp 8 hold 16 sets of ranks for 8-way experts twice."""
    fields: dict[str, object] = {"tp": 2, "dp": 8, "ep": 8, "sequence_parallel": True, "sharding": "zero1"}
    split, whole = table_of(**fields, shard_group=8), table_of(**fields, shard_group=8, expert_tp=1)
    assert float(np.asarray(expert_group(split).stride)[0]) == 2.0
    assert float(np.asarray(expert_group(whole).stride)[0]) == 1.0
    assert float(np.asarray(expert_data_group(split).ranks)[0]) == 1.0
    assert float(np.asarray(expert_data_group(whole).ranks)[0]) == 2.0
    assert float(np.asarray(expert_shard_group(whole).ranks)[0]) == 2.0


@pytest.mark.parametrize("expert_tp", [1, 2, 4])
def test_splitting_experts_less_keeps_their_flops_and_state_in_all(expert_tp: int) -> None:
    job = job_of(model("experts"))
    blocks = workload_blocks(job, FLASH)
    layout = {"tp": 4, "dp": 2, "ep": 2, "sequence_parallel": True, "grad_accum": 4}
    table = table_of(**layout, expert_tp=expert_tp)
    block = next(block for block in blocks if block.kind is BlockKind.EXPERT_LAYER)
    graph = partition_block(block, table, job, saves_gathered_input=False, experts=EVEN).graph
    for name in ("expert_up", "expert_down"):
        work, whole = graph.nodes[name]["work"], block.graph.nodes[name]["operation"]
        assert isinstance(work, Matmul)
        assert float(np.asarray(work.flops)[0]) * 4 == pytest.approx(whole.flops)
    exchanged = [graph.nodes[name]["work"] for name in graph if name.startswith("expert_up_input")]
    assert all(isinstance(message, Communication) for message in exchanged)
    assert {float(np.asarray(message.group.ranks)[0]) for message in exchanged} == {float(expert_tp)}
    held = state_shards(job.architecture, table, split_into_stages(blocks, table)).experts[0, 0]
    replicas = 4 * 2 / (expert_tp * 2)
    every_expert = 4 * 4 * 3 * 128 * 192  # 4 layers of 4 experts with three matrices
    assert held * 8 / replicas == pytest.approx(every_expert)


def of_experts(precision: str, **layout: object) -> dict[str, Operation | Communication]:
    job = job_of(model("experts")).model_copy(update={"precision": Precision(precision)})
    blocks = workload_blocks(job, FLASH)
    block = next(block for block in blocks if block.kind is BlockKind.EXPERT_LAYER)
    graph = partition_block(block, table_of(**layout), job, saves_gathered_input=False, experts=EVEN).graph
    return {name: graph.nodes[name]["work"] for name in graph}


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_tokens_that_split_experts_share_are_gathered_by_the_dispatcher_before_they_are_quantised(
    precision: str,
) -> None:
    """Megatron-Core, MoEAlltoAllTokenDispatcher: all-to-all, gather, experts, scatter, all-to-all, in one format."""
    works = of_experts(precision, tp=2, dp=4, ep=4, sequence_parallel=True)
    sent = {name: work for name, work in works.items() if isinstance(work, Communication)}
    gathered = sent["expert_up_input_all_gather_of_tokens"]
    assert gathered.purpose is Purpose.EXPERT
    copies = SEQ_LEN * 2 * 128  # top 2 of the tokens, 128 wide
    assert float(np.asarray(gathered.bytes)[0]) == copies * 2
    assert float(np.asarray(sent["expert_up_input_all_gather"].bytes)[0]) == 0.0
    up = works["expert_up"]
    assert isinstance(up, Matmul)
    assert up.quantisation is None or up.quantisation.input_share == 1.0  # all of what was gathered


def test_without_an_exchange_splitting_experts_is_tensor_parallelism() -> None:
    works = of_experts("bf16", tp=2, dp=4, ep=1, sequence_parallel=True)
    message = works["expert_up_input_all_gather"]
    assert isinstance(message, Communication) and float(np.asarray(message.bytes)[0]) > 0
    none = works["expert_up_input_all_gather_of_tokens"]
    assert isinstance(none, Communication) and float(np.asarray(none.bytes)[0]) == 0.0


@pytest.mark.parametrize(("ep", "sorts"), [(1, False), (2, True), (4, False)])
def test_copies_are_sorted_where_several_ranks_send_to_several_experts(ep: int, sorts: bool) -> None:
    work = of_experts("bf16", dp=4, ep=ep)[SORTING]
    assert isinstance(work, Stream)
    passes = 4 * SEQ_LEN * 2 * 128  # a read and a write on either side
    assert float(np.asarray(work.forward_elements)[0]) == (passes if sorts else 0.0)


def test_split_experts_sort_what_all_tensor_parallel_ranks_sent() -> None:
    whole = of_experts("bf16", dp=4, ep=2)[SORTING]
    split = of_experts("bf16", tp=2, dp=4, ep=2, sequence_parallel=True)[SORTING]
    one_each = of_experts("bf16", tp=2, dp=4, ep=2, sequence_parallel=True, expert_tp=1)[SORTING]
    assert isinstance(whole, Stream) and isinstance(split, Stream) and isinstance(one_each, Stream)
    elements = float(np.asarray(whole.forward_elements)[0])
    assert float(np.asarray(split.forward_elements)[0]) == elements
    assert float(np.asarray(one_each.forward_elements)[0]) == elements / 2


def test_a_capacity_makes_all_ranks_equally_full() -> None:
    kernels = ExpertKernels(load_violation=0.7, padded_to_capacity=True)
    assert float(np.asarray(fullest_rank(MOE, table_of(ep=8), 64.0, kernels))[0]) == 1.0
