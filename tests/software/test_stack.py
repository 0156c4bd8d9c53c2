"""Software stacks."""

from pathlib import Path

import pytest

from glmplan.errors import DocumentError, InputError
from glmplan.layout.parallel_layout import Schedule, Sharding
from glmplan.software.catalog import list_stacks, load_stack, stack_path
from glmplan.software.stack import CONSTANT_MEANINGS


@pytest.mark.parametrize("name", list_stacks())
def test_every_preset_loads_and_is_complete(name: str) -> None:
    stack = load_stack(name)
    assert stack.name == name
    assert stack.source
    assert set(stack.values()) == set(CONSTANT_MEANINGS)
    assert all(stack[constant] > 0 for constant in CONSTANT_MEANINGS)
    assert {Sharding(kind) for kind in stack.support.shardings}
    assert {Schedule(kind) for kind in stack.support.schedules}


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(InputError, match="stack: no preset 'megatron-cor'; did you mean 'megatron-core'"):
        load_stack("megatron-cor")
    with pytest.raises(InputError, match="the presets are deepspeed, glmplan"):
        load_stack("zzz")
    with pytest.raises(InputError, match="no preset 'priors'"):
        load_stack("priors")


def test_a_stack_of_ones_own_keeps_the_common_priors(tmp_path: Path) -> None:
    text = stack_path("megatron-core").read_text().replace("name: megatron-core", "name: mine")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("data_parallel_exposed: 0.3", "data_parallel_exposed: 0.5"))
    mine, preset = load_stack(str(path)), load_stack("megatron-core")
    assert mine["data_parallel_exposed"] == 0.5
    assert mine["fixed_step_s"] == preset["fixed_step_s"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "data_parallel_exposed: 0.3",
            "data_parallel_exposd: 0.3",
            "mine.yaml:6: constants.data_parallel_exposd: unknown constant; did you mean 'data_parallel_exposed'",
        ),
        ("data_parallel_exposed: 0.3", "data_parallel_exposed: 900", "must lie between low"),
        ("data_parallel_exposed: 0.3", "data_parallel_exposed: much", "valid number"),
        ("attention: cudnn", "attention: fast", "mine.yaml:5: kernels.attention"),
        ("reserve: 3 GiB", "reserve: 3", "expected a size with a unit"),
        ("memory:", "memories:", "memories: unknown field"),
    ],
)
def test_a_faulty_stack_says_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = stack_path("megatron-core").read_text()
    assert old in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(DocumentError) as caught:
        load_stack(str(path))
    assert message in str(caught.value)


def test_fitted_constants_replace_priors_within_their_bounds() -> None:
    stack = load_stack("megatron-core")
    fitted = stack.with_constants({"fixed_step_s": 0.02}, device="a100-sxm-80gb")
    assert fitted["fixed_step_s"] == 0.02
    assert fitted["matmul_time_factor"] == stack["matmul_time_factor"]
    assert fitted.calibrated_devices == ("a100-sxm-80gb",)
    assert stack.calibrated_devices == ()
    with pytest.raises(InputError, match=r"constants\.fixed_step_s: must lie between .* got 99"):
        stack.with_constants({"fixed_step_s": 99.0})
    with pytest.raises(InputError, match=r"constants\.fixed: unknown; the constants are"):
        stack.with_constants({"fixed": 1.0})
