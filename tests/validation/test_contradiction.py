"""Finding what cannot be true."""

from typing import Any

import pytest

from glmplan.validation.contradiction import contradictions, implausible, parameter_contradiction
from tests.validation.records import measurement


def test_the_sample_record_contradicts_nothing() -> None:
    assert contradictions(measurement()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout__dp": 8}, "world size: tp 2 x cp 1 x pp 1 x dp 8 = 16, but hardware.gpus is 8"),
        ({"layout__global_batch": 66}, "global_batch 66 is not a multiple of dp 4 x micro_batch 4 = 16"),
        ({"layout__global_batch": 8}, "global_batch 8 is less than dp 4 x micro_batch 4 = 16"),
        ({"layout__grad_accum": 3}, "dp 4 x micro_batch 4 x grad_accum 3 = 48, but global_batch is 64"),
        ({"layout__shard_group": 3}, "shard_group: 3 does not divide dp x cp = 4"),
        ({"measured__mfu": 38.1}, "measured.mfu: 38.1 is above 1; is it in percent?"),
        ({"measured__mfu": 0.5, "measured__hfu": 0.4}, "mfu: 0.5 is above hfu 0.4"),
        (
            {"measured__tokens_per_s_per_gpu": 16384.0 * 8},
            "(8 times); mixed up: bits and bytes, or per GPU and per node",
        ),
        ({"measured__step_time_s": 1000.0, "measured__tokens_per_s_per_gpu": 16384.0}, "a factor of 1000 in the unit"),
        ({"layout__tp": "2"}, "layout.tp: expected a whole number of at least 1; got '2'"),
        ({"model__layers": 0}, "model.layers: expected a whole number of at least 1; got 0"),
        (
            {"hardware__gpus": 12, "layout__dp": 6, "layout__global_batch": 96},
            "12 is not a multiple of gpus_per_node 8",
        ),
    ],
)
def test_each_contradiction_is_told_with_its_numbers(changes: dict[str, Any], message: str) -> None:
    found = contradictions(measurement(**changes))
    assert len(found) == 1, found
    assert message in found[0]


def test_a_last_micro_batch_may_be_smaller_where_grad_accum_says_so() -> None:
    assert contradictions(measurement(layout__global_batch=60, layout__grad_accum=4)) == []


@pytest.mark.parametrize(
    ("text", "rate", "wrong"),
    [
        ("8x200Gb/s InfiniBand HDR", 25e9, False),
        ("8x200Gb/s InfiniBand HDR", 200e9, True),
        ("4x100Gb/s Omni-Path per node", 6.25e9, False),
        ("InfiniBand 8x50 GB/s", 50e9, False),
        ("InfiniBand 8x50 GB/s", 6.25e9, True),
        ("400 Gb/s RDMA per GPU", 50e9, False),
        ("400 Gb/s RDMA per GPU", 400e9, True),
        ("RoCE RDMA", 1.0, False),
    ],
)
def test_a_network_rate_off_by_eight_from_its_words_is_found(text: str, rate: float, wrong: bool) -> None:
    network = {"text": text, "bytes_per_s_per_gpu": rate, "assumed": False}
    assert bool(contradictions(measurement(hardware__inter_node=network))) == wrong


def test_no_device_computes_above_its_peak_or_a_thousandth_of_it() -> None:
    def at(seconds: float) -> list[str]:
        return implausible(
            measurement(), step_time_s=seconds, model_flops=8e14, peak_flops_per_s=312e12, capacity_bytes=80 * 2.0**30
        )

    assert at(1.0) == []
    assert "2.56 times the peak of 8 a100-sxm-80gb" in at(0.125 * 1.0016)[0]
    assert "milliseconds" in at(1000.0)[0]


def test_an_own_run_may_be_tiny_and_its_peak_a_guess() -> None:
    def at(seconds: float) -> list[str]:
        return implausible(
            measurement(hardware__cluster="machine.yaml"),
            step_time_s=seconds,
            model_flops=8e14,
            peak_flops_per_s=312e12,
            capacity_bytes=80 * 2.0**30,
        )

    assert at(1000.0) == at(0.2) == []
    assert len(at(0.1)) == 1


def test_more_memory_than_the_device_has_is_found() -> None:
    found = implausible(
        measurement(measured__peak_memory_gib=640.0),
        step_time_s=None,
        model_flops=1.0,
        peak_flops_per_s=1.0,
        capacity_bytes=80 * 2.0**30,
    )
    assert found == ["measured.peak_memory_gib: 640 exceeds the device's 80 GiB"]


def test_a_name_plate_far_from_the_shape_is_found() -> None:
    assert parameter_contradiction(measurement(), 1.4e9) == []
    assert "1.3 billion stated" in parameter_contradiction(measurement(), 13e9)[0]
