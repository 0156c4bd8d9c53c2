"""The measuring functions on one rank of the CPU, at toy sizes."""

from pathlib import Path

import pytest
import torch

from glmplan.errors import InputError
from glmplan.precision import Precision
from glmplan.probe.attention import AttentionCase, attention_cases, measure_attention
from glmplan.probe.collectives import collective_cases, rank_counts
from glmplan.probe.host import HostCase, count_operators, host_cases, measure_host
from glmplan.probe.matmul import MatmulCase, matmul_cases, measure_matmul
from glmplan.probe.memory import CopyCase, copy_cases, measure_copy
from glmplan.probe.ranks import lone_rank
from glmplan.probe.storage import measure_storage

RANK = lone_rank(torch.device("cpu"))
BUDGET_S = 0.02


@pytest.mark.parametrize("dtype", [Precision.FP32, Precision.BF16])
def test_a_larger_product_takes_longer(dtype: Precision) -> None:
    small = measure_matmul(MatmulCase(dtype=dtype, m=64, n=64, k=64), RANK, BUDGET_S)
    large = measure_matmul(MatmulCase(dtype=dtype, m=512, n=512, k=512), RANK, BUDGET_S)
    assert small.columns == {"dtype": dtype.value, "m": 64, "n": 64, "k": 64}
    assert 0 < small.timing.seconds < large.timing.seconds


@pytest.mark.parametrize("dtype", [Precision.FP32, Precision.BF16])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_attention_is_measured_in_both_directions(dtype: Precision, kv_heads: int) -> None:
    def seconds(*, seq: int, backward: bool) -> float:
        case = AttentionCase(dtype=dtype, batch=1, seq=seq, heads=4, kv_heads=kv_heads, head_dim=32, backward=backward)
        row = measure_attention(case, RANK, BUDGET_S)
        assert row.columns["direction"] == ("backward" if backward else "forward")
        return row.timing.seconds

    assert seconds(seq=512, backward=True) > seconds(seq=64, backward=True) > 0
    assert seconds(seq=512, backward=True) > seconds(seq=512, backward=False)


def test_attention_flops_are_those_of_the_causal_half() -> None:
    case = AttentionCase(dtype=Precision.BF16, batch=2, seq=8, heads=4, kv_heads=4, head_dim=16, backward=False)
    # Two products of 2 * seq * seq * head_dim for each of batch * heads, half of it masked.
    assert case.flops() == 2 * 2 * 8 * 8 * 16 * 2 * 4 / 2


@pytest.mark.parametrize("fresh", [True, False])
def test_a_larger_copy_takes_longer(fresh: bool) -> None:
    small = measure_copy(CopyCase(size_bytes=2**14, fresh=fresh), RANK, BUDGET_S)
    large = measure_copy(CopyCase(size_bytes=2**23, fresh=fresh), RANK, BUDGET_S)
    assert 0 < small.timing.seconds < large.timing.seconds
    assert small.columns == {"bytes": 2**14, "output": "fresh" if fresh else "in place"}


def test_operators_are_counted_without_views() -> None:
    x = torch.ones(4, 4)
    assert count_operators(lambda: ((x * 2).view(16) + 1).reshape(4, 4).t()) == 2


def test_the_backward_pass_counts_too() -> None:
    forward = measure_host(HostCase(name="elementwise"), RANK, BUDGET_S)
    both = measure_host(HostCase(name="elementwise_backward"), RANK, BUDGET_S)
    assert int(both.columns["operators"]) > 2 * int(forward.columns["operators"]) - 1


@pytest.mark.parametrize("case", host_cases(), ids=lambda case: case.name)
def test_an_eager_operator_costs_a_fraction_of_a_microsecond_to_a_millisecond(case: HostCase) -> None:
    assert 1e-7 < measure_host(case, RANK, BUDGET_S).timing.seconds < 1e-3


def test_files_are_written_read_and_gone(tmp_path: Path) -> None:
    shares: list[float] = []
    rows = measure_storage(tmp_path, 0.05, shares.append)
    assert {row.columns["op"] for row in rows} == {"write", "read"}
    assert all(row.timing.seconds > 0 for row in rows)
    assert list(tmp_path.iterdir()) == []
    assert shares and max(shares) <= 1


def test_a_folder_that_cannot_be_written_to_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written to: no such file or directory"):
        measure_storage(tmp_path / "absent", 0.05, lambda done: None)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_every_plan_names_each_case_once_and_starts_with_all_formats(kind: str) -> None:
    formats = [Precision.FP32, Precision.BF16]
    products = matmul_cases(kind, formats, seed=3)
    calls = attention_cases(kind, formats, seed=3)
    assert [case.dtype for case in products[:2]] == formats
    assert [case.backward for case in calls[:2]] == [False, True]
    for cases in (products, calls, copy_cases(kind), collective_cases(kind, 8)):
        assert len(set(cases)) == len(cases) > 0


def test_the_seed_changes_the_order_and_nothing_else() -> None:
    one, other = (matmul_cases("cpu", [Precision.FP32], seed) for seed in (0, 1))
    assert one != other
    assert set(one) == set(other)


def test_collectives_need_two_ranks() -> None:
    assert collective_cases("cpu", 1) == []
    assert rank_counts(2) == [2]
    assert sorted(rank_counts(6)) == [2, 4, 6]
    assert all(case.elements() % case.ranks == 0 for case in collective_cases("cpu", 6))
    assert {case.ranks for case in collective_cases("cpu", 6) if case.op == "send_recv"} == {2}
