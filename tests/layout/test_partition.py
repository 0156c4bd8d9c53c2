"""What all ranks compute and hold together is the whole; a degree of one sends nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.architecture.parameters import layer_parameters, parameter_counts
from glmplan.layout.communication import Communication, Purpose
from glmplan.layout.data_parallel import GradientBytes, data_communications
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout, Sharding
from glmplan.layout.partition import partition_block
from glmplan.layout.stages import split_into_stages
from glmplan.layout.state_shards import shard_divisors, state_shards
from glmplan.software.experts import ExpertKernels
from glmplan.software.stack import Kernels
from glmplan.workload.graph import workload_blocks
from glmplan.workload.operation import Attention, Matmul, Operation, Split
from tests.small_jobs import MODELS, job_of, legal_layouts, model, some_of

FLASH = Kernels(attention="flash")
EVEN = ExpertKernels(routing="contiguous", load_violation=0.0)


def works(kind: str, table: LayoutTable) -> list[tuple[Operation | Communication, Operation | None]]:
    """Every node of every block on one rank, with the unsplit operation it came from."""
    job, found = job_of(model(kind)), []
    for block in workload_blocks(job, FLASH):
        rank_block = partition_block(block, table, job, saves_gathered_input=False, experts=EVEN)
        for name in rank_block.graph:
            whole = block.graph.nodes[name]["operation"] if name in block.graph else None
            found.append((rank_block.graph.nodes[name]["work"], whole))
    return found


@pytest.mark.parametrize("kind", MODELS)
def test_flops_of_all_ranks_are_the_flops_of_the_whole(kind: str) -> None:
    table = some_of(legal_layouts(kind), 60)
    replicas = np.where(table.sequence_parallel > 0, 1, table.tp)
    for work, whole in works(kind, table):
        if isinstance(work, Matmul | Attention):
            assert isinstance(whole, Matmul | Attention)
            together = np.asarray(work.flops) * table.tp * table.cp
            repeated = replicas if isinstance(whole, Matmul) and whole.split is Split.NONE else 1
            assert together == pytest.approx(whole.flops * table.micro_batch * repeated), work.name


@pytest.mark.parametrize("kind", MODELS)
def test_a_degree_of_one_has_no_communication_of_its_kind(kind: str) -> None:
    table = some_of(legal_layouts(kind), 60, seed=1)
    degree = {Purpose.TENSOR: table.tp, Purpose.CONTEXT: table.cp, Purpose.EXPERT: table.ep}
    sent = {purpose: np.zeros(len(table)) for purpose in degree}
    for work, _ in works(kind, table):
        if isinstance(work, Communication):
            active = np.where(np.asarray(work.group.ranks) > 1, np.asarray(work.bytes), 0.0)
            sent[work.purpose] += active
    for purpose, values in sent.items():
        assert (values[degree[purpose] == 1] == 0).all(), purpose
        assert (values[degree[purpose] > 1] > 0).all(), purpose


def test_sequence_parallelism_sends_the_same_bytes_in_two_halves() -> None:
    """Korthikanti 2022 (arXiv:2205.05198, section 4.2.2): an all-reduce is a reduce-scatter and an all-gather."""
    plain = ParallelLayout(tp=4)
    table = LayoutTable.of(plain, plain.model_copy(update={"sequence_parallel": True}))
    factor = {"all_reduce": 2.0, "all_gather": 1.0, "reduce_scatter": 1.0}
    layer = [work for work, _ in works("dense", table) if isinstance(work, Communication)]
    layer = [work for work in layer if not work.name.startswith(("embedding", "vocabulary"))]
    through = np.sum([factor[work.collective] * np.asarray(work.bytes) for work in layer], axis=0)
    assert through[0] == pytest.approx(through[1])


def test_low_rank_inputs_are_gathered_at_their_own_width() -> None:
    """DeepSeek-V2 (arXiv:2405.04434, section 2.1): the compressed query and key-value vectors are what is shared."""
    arch = model("latent")
    assert arch.mla is not None
    table = LayoutTable.of(ParallelLayout(tp=2, sequence_parallel=True))
    gathered = {work.name: work for work, _ in works("latent", table) if isinstance(work, Communication)}
    width = np.asarray(gathered["query_up_input_all_gather"].bytes).item() / 256 / 2
    assert width == arch.mla.q_lora_rank
    assert np.asarray(gathered["mlp_up_input_all_gather"].bytes).item() / 256 / 2 == arch.hidden


def test_routed_tokens_are_gathered_once_for_each_expert_they_visit() -> None:
    """Sequence parallelism with tensor-parallel experts: ``top_k`` copies of every token come together."""
    arch = model("experts")
    assert arch.moe is not None
    table = LayoutTable.of(ParallelLayout(tp=2, sequence_parallel=True, micro_batch=3))
    gathered = {work.name: work for work, _ in works("experts", table) if isinstance(work, Communication)}
    token_bytes = 3 * 256 * arch.hidden * 2
    assert np.asarray(gathered["expert_up_input_all_gather"].bytes).item() == arch.moe.top_k * token_bytes
    assert np.asarray(gathered["shared_expert_up_input_all_gather"].bytes).item() == token_bytes


@settings(max_examples=60)
@given(kind=st.sampled_from(MODELS), tied=st.booleans(), norm=st.sampled_from(["rms", "layer"]), data=st.data())
def test_parameters_of_all_ranks_are_the_parameters_of_the_model(
    kind: str, tied: bool, norm: str, data: st.DataObject
) -> None:
    """One stage: what tensor parallelism does not divide (norms, routers, positions) is held by every rank of it."""
    arch = model(kind, tied_embeddings=tied, norm=norm, learned_positions=512)
    tp, ep = data.draw(st.sampled_from([1, 2, 4])), data.draw(st.sampled_from([1, 2, 4] if arch.moe else [1]))
    table = LayoutTable.of(ParallelLayout(tp=tp, ep=ep, dp=4))
    job = job_of(arch)
    shards = state_shards(arch, table, split_into_stages(workload_blocks(job, FLASH), table))
    counts, layer = parameter_counts(arch), layer_parameters(arch)
    replicated = counts.norms + counts.router + counts.position + arch.total_layers * layer.attention_replicated
    together = tp * (shards.dense[0, 0] + ep * shards.experts[0, 0])
    assert together == pytest.approx(counts.total + (tp - 1) * replicated, rel=1e-12)


@given(pp=st.sampled_from([1, 2, 3]), tied=st.booleans())
def test_parameters_of_all_stages_are_the_parameters_of_the_model(pp: int, tied: bool) -> None:
    """With tied embeddings the last stage holds a copy of the table (Megatron-LM and torch pipelines alike)."""
    arch = model(tied_embeddings=tied)
    table = LayoutTable.of(ParallelLayout(pp=pp))
    stages = split_into_stages(workload_blocks(job_of(arch), FLASH), table)
    shards = state_shards(arch, table, stages)
    copy = arch.vocab * arch.hidden if tied and pp > 1 else 0
    together = np.where(stages.exists, shards.dense, 0.0).sum()
    assert together == pytest.approx(parameter_counts(arch).total + copy, rel=1e-12)


@pytest.mark.parametrize(
    ("sharding", "parameters", "gradients", "optimizer"),
    [
        ("none", 1, 1, 1),
        ("zero1", 1, 1, 8),
        ("zero2", 1, 8, 8),
        ("zero3", 8, 8, 8),
        ("fsdp", 8, 8, 8),
        ("hsdp", 4, 4, 4),
    ],
)
def test_each_sharding_divides_what_its_paper_says(
    sharding: str, parameters: float, gradients: float, optimizer: float
) -> None:
    """Rajbhandari 2020 (arXiv:1910.02054, figure 1)."""
    group = {"none": 1, "hsdp": 4}.get(sharding, 8)
    layout = ParallelLayout(dp=8, ep=2, sharding=Sharding(sharding), shard_group=group)
    by = shard_divisors(LayoutTable.of(layout))
    assert (by.parameters[0], by.gradients[0], by.optimizer[0]) == (parameters, gradients, optimizer)
    assert by.expert_optimizer[0] == max(optimizer / 2, 1)


@pytest.mark.parametrize(
    ("sharding", "volume"), [("none", 2.0), ("zero1", 2.0), ("zero2", 2.0), ("zero3", 3.0), ("fsdp", 3.0)]
)
def test_data_parallel_traffic_is_two_or_three_times_the_model(sharding: str, volume: float) -> None:
    """Rajbhandari 2020, section 7: ZeRO-1 and -2 send as much as an all-reduce, ZeRO-3 one and a half times that."""
    group = 1 if sharding == "none" else 8
    table = LayoutTable.of(ParallelLayout(dp=8, sharding=Sharding(sharding), shard_group=group))
    parameters, width = np.array([1e6]), GradientBytes(gradient=2.0, gathered=2.0, stored=2.0)
    factor = {"all_reduce": 2.0, "all_gather": 1.0, "reduce_scatter": 1.0}
    messages = data_communications(
        table, parameters, np.zeros(1), np.array([10.0]), width, reduces_each_micro_batch=True
    )
    total = sum(factor[m.collective] * np.asarray(m.bytes) * np.asarray(m.count) for m in messages)
    assert float(np.asarray(total).item()) == pytest.approx(volume * 2e6)
