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
