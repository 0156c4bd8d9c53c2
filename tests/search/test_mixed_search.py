"""The best pipeline over two kinds of devices is the best of all layouts, and reads well."""

from typing import Any

import pytest

from glmplan.errors import DoesNotFit, InputError
from glmplan.hardware.catalog import load_cluster
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import ParallelLayout, Recompute, Schedule, Sharding
from glmplan.search import mixed_search
from glmplan.search.mixed_cluster import ClusterShare, mixed_pipeline
from glmplan.search.mixed_search import MixedSearch, search_mixed
from glmplan.search.mixed_text import mixed_record, mixed_rows, mixed_sentences, recomputed, stage_rows
from glmplan.software.catalog import load_stack
from tests.small_jobs import all_candidates, context_of, job_of, model

SHARES = tuple(ClusterShare(cluster=load_cluster(name), num_devices=4) for name in ("dgx-a100-pod", "dgx-h100-pod"))
JOB = job_of(
    model(layers=12, hidden=2048, heads=16, kv_heads=8, head_dim=128, ffn_hidden=5632, vocab=32000),
    seq_len=2048,
    global_batch=32,
)
NARROW = Choices(
    tp=(1, 2),
    cp=(1,),
    micro_batch=(1, 2),
    recompute=(Recompute.NONE,),
    sharding=(Sharding.NONE,),
    schedule=(Schedule.ONE_F_ONE_B,),
    sequence_parallel=(False,),
)


def search(**changes: Any) -> MixedSearch:
    return search_mixed(JOB, load_stack("megatron-core"), SHARES, changes.pop("choices", NARROW), **changes)


def test_it_finds_the_best_of_all_layouts_tried_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_search, "MOST_LAYOUTS", 1000)
    stack, found = load_stack("megatron-core"), search()
    context = context_of(JOB, 8, stack.support)
    table = all_candidates(context, NARROW.model_copy(update={"virtual_stages": (1,)}))
    layouts = [table.row(row) for row in range(len(table))]
    whole = [layout for layout in layouts if layout.pp > 1 and 4 % (8 // layout.pp) == 0]
    steps = [mixed_pipeline(JOB, stack, SHARES, layout, partial=False).step_time_s for layout in whole]
    assert found.best[0].step_time_s == pytest.approx(min(steps), rel=1e-9)
    assert found.gap == 0.0
    assert found.solved < len(steps) == found.considered


def test_a_search_cut_short_reports_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_search, "MOST_LAYOUTS", 1)
    found = search()
    assert found.solved == 1
    assert found.gap > 0.0
    assert "slower" in mixed_sentences(found)[0]


def test_rows_say_what_each_stage_does() -> None:
    found = search(keep=2)
    best = found.best[0]
    assert len(mixed_rows(found)) == 2
    rows = stage_rows(best)
    assert [row[1] for row in rows] == list(best.stage_clusters)
    assert sum(int(row[2]) for row in rows) == 12
    assert {row[3] for row in rows} == {"0"}
    assert mixed_record(found)["best"][0]["layout"]["stage_layers"] == list(best.layout.stage_layers or ())
    assert "faster than with as many layers on every stage" in mixed_sentences(found)[1]


def test_recomputed_layers_are_told_in_each_way_of_writing_them() -> None:
    full = ParallelLayout(pp=3, stage_layers=(4, 2, 3), recompute=Recompute.FULL)
    assert recomputed(full) == (4, 2, 3)
    assert recomputed(full.model_copy(update={"recompute_layers": 3})) == (3, 2, 3)
    assert recomputed(full.model_copy(update={"stage_recompute_layers": (1, 0, 2)})) == (1, 0, 2)
    assert recomputed(full.model_copy(update={"recompute": Recompute.NONE})) == (0, 0, 0)


def test_where_nothing_fits_it_says_so() -> None:
    with pytest.raises(DoesNotFit, match="no layout of dense makes whole stages of each kind and fits"):
        search(memory_margin=0.9, choices=NARROW.model_copy(update={"tp": (1,), "micro_batch": (2,)}))


def test_a_stack_that_does_not_train_the_model_is_refused() -> None:
    job = job_of(model("encoder-decoder"))
    with pytest.raises(InputError, match="does not train encoder-decoder models"):
        search_mixed(job, load_stack("torchtitan"), SHARES, NARROW)
