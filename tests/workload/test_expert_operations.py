"""What one layer of experts computes and keeps, and what recomputing modules drops."""

import pytest

from glmplan.architecture.catalog import load_architecture
from glmplan.architecture.transformer import Architecture
from glmplan.software.experts import ExpertKernels
from glmplan.software.stack import Kernels
from glmplan.workload.graph import BlockKind, workload_blocks
from glmplan.workload.job import TrainingJob
from glmplan.workload.mlp import SORTING, expert_operations
from glmplan.workload.operation import Kept, Operation, Stream

SEQ_LEN = 4096


def kernels(**changes: object) -> Kernels:
    fields: dict[str, object] = {"attention": "flash", "fused_gated_activation": True} | changes
    return Kernels.model_validate(fields)


def named(operations: list[Operation]) -> dict[str, Operation]:
    return {operation.name: operation for operation in operations}


def elements(kept: tuple[Kept, ...]) -> float:
    return sum(float(part.elements) for part in kept)


def layer_of(arch: Architecture, chosen: Kernels, kind: BlockKind = BlockKind.EXPERT_LAYER) -> dict[str, Operation]:
    job = TrainingJob(architecture=arch, seq_len=SEQ_LEN, global_batch=8)
    return named(next(block for block in workload_blocks(job, chosen) if block.kind is kind).operations())


def test_gpt_oss_pays_for_biases_and_clamps_unless_its_kernels_do_them() -> None:
    arch = load_architecture("gpt-oss-120b")
    apart = named(expert_operations(arch, SEQ_LEN, kernels()))
    fused = named(expert_operations(arch, SEQ_LEN, kernels(experts=ExpertKernels(fused_epilogue=True))))
    rows = SEQ_LEN * 4
    bias, activation = apart["expert_bias"], apart["expert_activation"]
    plain = fused["expert_activation"]
    assert isinstance(bias, Stream) and isinstance(activation, Stream) and isinstance(plain, Stream)
    assert bias.forward_elements == 14 * rows * 2880
    assert "expert_bias" not in fused
    assert float(plain.forward_elements) == 3 * rows * 2880
    assert float(activation.forward_elements) == 11 * rows * 2880
    assert elements(activation.kept) == 2 * elements(plain.kept)


def test_weighting_the_activation_spares_the_copy_of_the_outputs() -> None:
    arch = load_architecture("qwen3-30b-a3b")
    outputs = named(expert_operations(arch, SEQ_LEN, kernels()))["unpermute"]
    spared = named(expert_operations(arch, SEQ_LEN, kernels(experts=ExpertKernels(weighted_activation=True))))
    assert elements(outputs.kept) == SEQ_LEN * 8 * 2048
    assert elements(spared["unpermute"].kept) == 0


def test_copies_are_sorted_by_expert_unless_the_dispatcher_writes_them_in_order() -> None:
    """A profile of Megatron-Core's all-to-all dispatcher has one kernel that sorts for each that permutes."""
    arch = load_architecture("qwen3-30b-a3b")
    sent = named(expert_operations(arch, SEQ_LEN, kernels()))
    multicast = named(expert_operations(arch, SEQ_LEN, kernels(experts=ExpertKernels(dispatch="multicast"))))
    sorting = sent[SORTING]
    assert isinstance(sorting, Stream) and sorting.forward_elements == 4 * SEQ_LEN * 8 * 2048
    assert SORTING not in multicast


def test_a_capacity_needs_no_padding_of_rows() -> None:
    arch = load_architecture("qwen3-30b-a3b")
    padded = ExpertKernels(padded_to_capacity=True)
    assert "expert_padding" in named(expert_operations(arch, SEQ_LEN, kernels(), narrow=True))
    assert "expert_padding" not in named(expert_operations(arch, SEQ_LEN, kernels(experts=padded), narrow=True))


def test_recomputing_latent_up_projections_keeps_latents_instead_of_queries_keys_and_values() -> None:
    layer = layer_of(load_architecture("deepseek-v3"), kernels(selective_modules=("mla_up_proj",)))
    core, up = layer["attention_core"], layer["query_up"]
    assert elements(core.kept_selectively) == 0
    assert any(part.fp32_elements for part in core.kept_selectively)  # the statistics of each row stay
    assert elements(up.kept_selectively) == SEQ_LEN * 1536
    assert (core.repeated_share, up.repeated_share) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("module", "repeated", "dropped"),
    [("moe_act", "expert_activation", "expert_down"), ("layernorm", "mlp_norm", "qkv")],
)
def test_a_repeated_module_s_output_is_not_kept(module: str, repeated: str, dropped: str) -> None:
    layer = layer_of(load_architecture("qwen3-30b-a3b"), kernels(selective_modules=(module,)))
    assert layer[repeated].repeated_share == 1.0
    assert elements(layer[dropped].kept) > 0
    assert elements(layer[dropped].kept_selectively) == 0


def test_recomputing_nothing_keeps_everything() -> None:
    layer = layer_of(load_architecture("deepseek-v3"), kernels(selective_modules=()))
    for operation in layer.values():
        assert operation.kept_selectively == operation.kept
        assert operation.repeated_share == 0.0


def test_multi_token_prediction_adds_a_layer_and_a_second_pass_through_the_head() -> None:
    plain, with_module = load_architecture("deepseek-v3"), load_architecture("deepseek-v3-mtp")
    counts = []
    for arch in (plain, with_module):
        job = TrainingJob(architecture=arch, seq_len=SEQ_LEN, global_batch=8)
        counts.append({block.kind: block.count for block in workload_blocks(job, kernels())})
    assert counts[1][BlockKind.EXPERT_LAYER] == counts[0][BlockKind.EXPERT_LAYER] + 1
    assert counts[1][BlockKind.DENSE_LAYER] == counts[0][BlockKind.DENSE_LAYER]
    heads = [layer_of(arch, kernels(), BlockKind.HEAD) for arch in (plain, with_module)]
    assert heads[1]["vocabulary"].flops == 2 * heads[0]["vocabulary"].flops  # type: ignore[union-attr]
    assert "mtp_projection" in heads[1] and "mtp_projection" not in heads[0]
