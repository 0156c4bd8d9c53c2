"""Options that become a request."""

import re
from typing import Any

import pytest

from glmplan.cli.options import DIMENSION_HELP, DIMENSIONS, build_request, parse_choices, parse_tokens
from glmplan.errors import InputError
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import Recompute, Sharding

AUTO = {name.replace("-", "_"): "auto" for name in DIMENSIONS}


def options(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "model": "llama3-8b",
        "cluster": "dgx-a100-pod",
        "num_gpus": 8,
        "global_batch": 8,
        "seq_len": 4096,
        "precision": "bf16",
        "optimizer": "adamw",
        "tokens": None,
        "stack": "megatron-core",
    }
    return plain | AUTO | changes


def test_every_field_of_choices_has_an_option_and_help() -> None:
    assert {field for field, _ in DIMENSIONS.values()} == set(Choices.model_fields)
    assert set(DIMENSION_HELP) == set(DIMENSIONS)


def test_a_dimension_takes_auto_a_value_or_a_list() -> None:
    assert parse_choices(AUTO) == Choices()
    given = AUTO | {"tp": "1, 2,4", "shard": "FSDP,hsdp", "recompute": "full", "sequence_parallel": "on,off", "ep": "8"}
    assert parse_choices(given) == Choices(
        tp=(1, 2, 4),
        sharding=(Sharding.FSDP, Sharding.HSDP),
        recompute=(Recompute.FULL,),
        sequence_parallel=(True, False),
        ep=(8,),
    )


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("tp", "0", "--tp: expected auto, a whole number above 0, or a list such as 1,2,4; got '0'"),
        ("tp", "-1", "--tp: expected auto"),
        ("tp", "2.5", "--tp: expected auto"),
        ("tp", "1,,2", "--tp: expected auto"),
        ("tp", "", "--tp: expected auto"),
        ("tp", "9" * 30, "--tp: expected auto"),
        ("tp", "²", "--tp: expected auto"),
        ("micro_batch", "x", "--micro-batch: expected auto"),
        (
            "shard",
            "zero4",
            "--shard: expected auto, none, zero1, zero2, zero3, fsdp, hsdp, or a list of them; got 'zero4'",
        ),
        ("recompute", "some", "--recompute: expected auto, none, selective, full, or a list of them; got 'some'"),
        (
            "schedule",
            "1b1f",
            "--schedule: expected auto, gpipe, 1f1b, interleaved, zb-h1, zb-2p, or a list of them; got '1b1f'",
        ),
        ("sequence_parallel", "maybe", "--sequence-parallel: expected auto, on or off; got 'maybe'"),
    ],
)
def test_a_wrong_value_names_option_value_and_what_is_right(option: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        parse_choices(AUTO | {option: text})


@pytest.mark.parametrize(
    ("text", "value"), [("15T", 15e12), ("300b", 300e9), ("1e9", 1e9), ("2.5M", 2.5e6), ("10k", 1e4), (None, None)]
)
def test_tokens_are_counted_in_thousands_to_trillions(text: str | None, value: float | None) -> None:
    assert parse_tokens(text) == value


@pytest.mark.parametrize("text", ["", "T", "many", "-1B", "0", "nan", "inf", "1e30", "1 5T5"])
def test_impossible_token_counts_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--tokens: "):
        parse_tokens(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "fp7"}, "request: precision: input should be 'fp32', 'tf32', 'bf16'"),
        ({"optimizer": "lion"}, "request: optimizer: input should be 'adamw' or 'sgd'; got 'lion'"),
        ({"model": "lama3-8b"}, "llama3-8b"),
        ({"global_batch": 2**30}, "request: global_batch: input should be less than or equal to 16777216"),
        ({"model": "gpt3-175b"}, "4096 exceeds the 2048 learned positions of gpt3-175b"),
    ],
)
def test_a_request_that_cannot_be_says_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        build_request(options(**changes))
    assert message in str(caught.value)


def test_all_faults_of_a_request_come_at_once() -> None:
    with pytest.raises(InputError) as caught:
        build_request(options(precision="fp7", optimizer="lion"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_request_holds_what_was_asked_for() -> None:
    request = build_request(options(tokens="2T", tp="8"), objective="memory", memory_margin=0.1, top=3)
    assert request.job.tokens == 2e12
    assert request.choices == Choices(tp=(8,))
    assert (request.objective, request.memory_margin, request.top) == ("memory", 0.1, 3)
