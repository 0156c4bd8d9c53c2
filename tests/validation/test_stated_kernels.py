"""What a record's words say about the kernels of its run."""

import pytest

from glmplan.software.catalog import load_stack
from glmplan.validation.case_fields import Unusable
from glmplan.validation.stated_kernels import as_run, stated_key
from tests.validation.records import measurement

BRIDGE = load_stack("megatron-bridge")
MOE = {"experts": 8, "top_k": 2, "expert_ffn_hidden": 128}


def test_the_dispatch_and_its_overlap_are_read_from_the_recipe_that_is_named() -> None:
    run = as_run(
        BRIDGE,
        measurement(
            software="megatron-bridge",
            model__moe=MOE,
            notes='Recipe settings: {"moe_a2a_overlap": true, "expert_tensor_parallel_size": 1}',
        ),
    )
    assert run.kernels.experts.overlap
    assert run.kernels.experts.dispatch == "all_to_all"


def test_grok_s_recipe_pads_to_a_capacity_and_overlaps_no_tensor_parallelism() -> None:
    """NVIDIA/dgxc-benchmarking, grok1/grok1_314b.yaml."""
    record = measurement(software="nemo (DGX Cloud benchmarking)", model__name="grok1-314b", model__moe=MOE)
    kernels = as_run(load_stack("nemo"), record).kernels
    assert kernels.experts.padded_to_capacity and kernels.serial_tp


def test_a_recipe_s_dispatcher_counts_more_than_the_backend_that_it_names() -> None:
    fields = {"software": "megatron-bridge", "model__name": "qwen3-235b-a22b", "model__moe": MOE, "notes": "deepep"}
    assert as_run(BRIDGE, measurement(**fields)).kernels.experts.dispatch == "multicast"
    hopper = measurement(**fields, hardware__gpu="h100-sxm-80gb")
    assert as_run(BRIDGE, hopper).kernels.experts.dispatch == "all_to_all"


def test_modules_that_are_recomputed_are_read() -> None:
    run = as_run(BRIDGE, measurement(model__moe=MOE, notes='{"recompute_modules": ["layernorm", "moe_act"]}'))
    assert run.kernels.selective_modules == ("layernorm", "moe_act")


def test_a_dense_model_keeps_the_preset() -> None:
    assert as_run(BRIDGE, measurement(notes="hybridep, fake balanced gate")) == BRIDGE


def test_runs_that_used_a_stack_differently_have_different_keys() -> None:
    plain = measurement(model__moe=MOE)
    assert stated_key(plain) == stated_key(measurement(model__moe=MOE, notes="nothing of interest"))
    assert stated_key(plain) != stated_key(measurement(model__moe=MOE, notes="DeepEP"))


def test_an_unknown_cuda_graph_class_is_named() -> None:
    with pytest.raises(Unusable, match="cuda_graph: expected one of none, partial, full; got 'some'"):
        as_run(BRIDGE, measurement(cuda_graph="some"))
