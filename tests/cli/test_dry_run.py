"""`glmplan dry-run`: its document, its table, what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from glmplan.layout.parallel_layout import ParallelLayout, Sharding
from tests.conftest import Outcome
from tests.tune.tiny import write_tiny_plan

Run = Callable[..., Outcome]
KEYS = ("flops", "collectives", "peak_memory_bytes", "memory")


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    layout = ParallelLayout(dp=2, micro_batch=4, sharding=Sharding.FSDP, shard_group=2)
    return write_tiny_plan(tmp_path / "plan.json", layout)


def test_the_document_holds_both_sides(run_glmplan: Run, plan: Path) -> None:
    result = run_glmplan("dry-run", plan, "--rank", 1, "--format", "json")
    assert result.code == 0
    document = json.loads(result.out)
    assert document["schema_version"] == 1
    assert document["flops"] == document["predicted"]["flops"] > 0
    for side in (document, document["predicted"]):
        assert set(KEYS) <= side.keys()
        assert sum(side["memory"].values()) == pytest.approx(side["peak_memory_bytes"])
        assert {"all_gather", "reduce_scatter"} <= {each["kind"] for each in side["collectives"]}
        assert all({"kind", "group", "count", "bytes"} <= each.keys() for each in side["collectives"])


def test_the_table_names_the_difference(run_glmplan: Run, plan: Path) -> None:
    result = run_glmplan("dry-run", plan)
    assert result.code == 0
    assert "FLOPs" in result.out and "+0.00%" in result.out
    assert "rank 0 of 2" in result.err


def test_bad_input_is_one_line(run_glmplan: Run, plan: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ((plan, "--rank", 2), "rank: the plan has ranks 0 to 1; got 2"),
        ((plan, "--option", 7), "option"),
        ((tmp_path / "none.json",), "none.json"),
    ):
        result = run_glmplan("dry-run", *arguments)
        assert result.code == 2
        assert message in result.err and len(result.err.splitlines()) == 1
