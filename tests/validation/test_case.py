"""What published and hand-made records mean."""

from typing import Any

import pytest

from glmplan.layout.parallel_layout import Recompute, Schedule, Sharding
from glmplan.precision import Precision
from glmplan.software.catalog import list_stacks
from glmplan.validation.case import CaseInputs, Skipped, to_inputs
from glmplan.validation.case_file import PlacedMeasurement
from glmplan.validation.case_rules import rules
from tests.validation.records import inputs, measurement


def test_every_published_line_is_predictable_or_skipped_with_a_reason(
    published: tuple[PlacedMeasurement, ...], published_inputs: list[CaseInputs | Skipped]
) -> None:
    assert len(published_inputs) == len(published)
    skipped = [item for item in published_inputs if isinstance(item, Skipped)]
    assert all(item.reason for item in skipped)
    assert len(published_inputs) - len(skipped) >= 1600


def test_a_complete_published_pretraining_run_is_skipped_only_for_what_is_not_modelled(
    published: tuple[PlacedMeasurement, ...], published_inputs: list[CaseInputs | Skipped]
) -> None:
    reasons = {
        found.reason
        for item, found in zip(published, published_inputs, strict=True)
        if isinstance(found, Skipped) and not item.measurement.missing and item.measurement.kind == "pretrain"
    }
    told = ("not modelled", "contradictory", "formula is not known", "does not state: model.", "whole share of a node")
    assert all(any(word in reason for word in told) for reason in reasons), reasons


def test_every_stack_that_the_names_lead_to_exists() -> None:
    assert {rule.take["stack"] for rule in rules("software_names.yaml", "stack")} <= set(list_stacks())


def test_the_sample_becomes_the_job_layout_and_cluster_it_states() -> None:
    case = inputs()
    layout = case.parts[0].layout
    assert (layout.tp, layout.dp, layout.micro_batch, layout.grad_accum) == (2, 4, 4, 4)
    assert (layout.sharding, layout.recompute, layout.schedule) == (
        Sharding.NONE,
        Recompute.NONE,
        Schedule.ONE_F_ONE_B,
    )
    assert (case.job.seq_len, case.job.global_batch, case.job.precision) == (2048, 64, Precision.BF16)
    assert case.job.architecture.learned_positions == 2048
    assert (case.cluster.device.name, case.cluster.num_devices) == ("a100-sxm-80gb", 8)
    assert case.stack == "megatron-core"
    assert case.trusted


def test_what_is_assumed_is_listed() -> None:
    case = inputs(layout__sharding=None, layout__precision=None)
    assert case.job.precision is Precision.BF16
    assert any(text.startswith("layout.sharding = zero1") for text in case.assumptions)
    assert any(text.startswith("layout.precision = bf16") for text in case.assumptions)
    assert not any("sequence_parallel" in text for text in case.assumptions)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"missing": ["micro_batch", "tp"]}, "the source does not state: micro_batch, tp"),
        ({"layout__micro_batch": None}, "the source does not state: layout.micro_batch"),
        ({"seq_len": None}, "the source does not state: seq_len"),
        ({"layout__schedule": "zero-bubble"}, "layout.schedule: zero-bubble is not modelled; 1f1b, gpipe, interleaved"),
        ({"layout__optimizer": "muon"}, "layout.optimizer: muon is not modelled"),
        ({"layout__precision": "int4"}, "layout.precision: int4 is not modelled; fp32"),
        ({"layout__cpu_offload": "parameters"}, "cpu_offload"),
        ({"layout__peft": "lora"}, "layout.peft: lora is not modelled"),
        ({"kind": "hybrid"}, "not modelled (kind: hybrid)"),
        ({"model__family": "diffusion"}, "model.family: diffusion is not modelled"),
        ({"hardware__gpu": "h1000"}, "no 'h1000' in the catalogue"),
        ({"hardware__gpus": 6, "layout__dp": 3, "layout__global_batch": 48}, "6 is not a whole share of a node of 8"),
        ({"software": "abacus"}, "no stack is known for 'abacus'; name one with --stack"),
        ({"layout__dp": 2}, "contradictory: world size"),
        ({"model__kv_heads": 5}, "contradictory: "),
        ({"model__params_b": 13}, "contradictory: model.params_b"),
        ({"measured__step_time_s": 0.001}, "contradictory: measured step"),
        ({"measured": {"model_tflops_per_gpu": 100.0}}, "the source's formula is not known"),
    ],
)
def test_a_case_that_cannot_be_predicted_says_why(changes: dict[str, Any], reason: str) -> None:
    found = to_inputs(measurement(**changes))
    assert isinstance(found, Skipped)
    assert reason in found.reason


def test_a_fractional_number_of_micro_batches_lies_between_its_neighbours() -> None:
    case = inputs(layout__global_batch=60, layout__grad_accum=4)
    assert [(part.layout.grad_accum, part.weight) for part in case.parts] == [(3, 0.25), (4, 0.75)]
    assert case.job.global_batch == 60
    assert [part.job.global_batch for part in case.parts] == [48, 64]


def test_doubted_and_fine_tuning_runs_are_not_trusted() -> None:
    assert not inputs(trust="C").trusted
    assert not inputs(suspect="slower than its series").trusted
    assert not inputs(kind="finetune").trusted


def test_a_stack_may_be_named_for_software_that_is_not_known() -> None:
    found = to_inputs(measurement(software="abacus"), stack="torchtitan")
    assert isinstance(found, CaseInputs)
    assert found.stack == "torchtitan"


def test_expert_layers_are_turned_into_leading_dense_layers() -> None:
    moe = {"experts": 8, "top_k": 2, "expert_ffn_hidden": 1024, "shared_experts": 0, "moe_layers": 20}
    case = inputs(model__moe=moe, model__params_b=None)
    assert case.job.architecture.moe is not None
    assert case.job.architecture.moe.dense_layers == 4


def test_sharding_over_part_of_the_ranks_is_hybrid() -> None:
    layout = inputs(layout__sharding="fsdp", layout__shard_group=2).parts[0].layout
    assert (layout.sharding, layout.shard_group) == (Sharding.HSDP, 2)
    layout = inputs(layout__sharding="fsdp").parts[0].layout
    assert (layout.sharding, layout.shard_group) == (Sharding.FSDP, 4)
