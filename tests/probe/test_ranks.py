import multiprocessing
import os

import pytest
import torch.distributed as dist

from glmplan.errors import GlmplanError, InputError
from glmplan.probe.collectives import CollectiveCase, make_groups, measure_collective
from glmplan.probe.ranks import Rank, run_on_ranks


def meet(rank: Rank) -> tuple[int, float, int, list[int]]:
    """What rank 0 says, and the sizes of the collectives that ran."""
    assert dist.get_world_size() == rank.count
    agreed = rank.agree(float(10 + rank.index))
    rank.report("meeting", 0.5)
    groups = make_groups(rank)
    sizes = []
    for op in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv"):
        row = measure_collective(CollectiveCase(op=op, ranks=2, size_bytes=1000), groups, rank, 0.0)
        assert row is not None and row.timing.seconds > 0
        sizes.append(int(row.columns["bytes"]))
    return rank.index, agreed, rank.count, sizes


def die(rank: Rank) -> None:
    if rank.index == 1:
        os._exit(7)
    rank.agree(0.0)


def refuse(rank: Rank) -> None:
    raise InputError("folder: cannot be written to")


def fail(rank: Rank) -> None:
    raise ZeroDivisionError("by nothing")


def test_ranks_meet_agree_and_answer_in_order() -> None:
    heard: list[str] = []
    before = set(multiprocessing.active_children())
    results = run_on_ranks(
        meet, kind="cpu", ranks=2, threads=1, limit_s=60, progress=lambda section, done: heard.append(section)
    )
    # 1,000 bytes are 250 elements, which two ranks share evenly.
    assert results == [(0, 10.0, 2, [1000] * 5), (1, 10.0, 2, [1000] * 5)]
    assert heard == ["meeting"]
    assert set(multiprocessing.active_children()) <= before  # other tests keep workers


def test_a_rank_that_dies_ends_the_others_and_is_named() -> None:
    before = set(multiprocessing.active_children())
    with pytest.raises(GlmplanError, match=r"rank 1 died \(exit code 7\)"):
        run_on_ranks(die, kind="cpu", ranks=2, threads=1, limit_s=60, progress=lambda section, done: None)
    assert set(multiprocessing.active_children()) <= before  # other tests keep workers


def test_bad_input_found_by_a_rank_stays_bad_input() -> None:
    with pytest.raises(InputError, match="cannot be written to"):
        run_on_ranks(refuse, kind="cpu", ranks=1, threads=1, limit_s=60, progress=lambda section, done: None)


def test_a_fault_in_a_rank_keeps_its_traceback() -> None:
    with pytest.raises(GlmplanError, match=r"(?s)in fail.*ZeroDivisionError: by nothing"):
        run_on_ranks(fail, kind="cpu", ranks=1, threads=1, limit_s=60, progress=lambda section, done: None)
