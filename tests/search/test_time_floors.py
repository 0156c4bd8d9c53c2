"""The lower bound of a step: never above any variant's time, and close to it."""

from dataclasses import replace

import numpy as np
import pytest

from glmplan.layout.candidates import scheduled, sharded, stems
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import OFFLOADS, RECOMPUTES, Recompute
from glmplan.layout.rules import Context
from glmplan.search import time_floors as module
from glmplan.search.time_floors import time_floors
from glmplan.software.stack import Support
from tests.small_jobs import EVERYTHING, MODELS, costs

SCHEDULES = Support(
    shardings=("none", "zero1", "fsdp", "hsdp"),
    schedules=("gpipe", "1f1b", "interleaved", "zb-h1", "zb-2p"),
    recompute_layers=True,
)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(
    ("stack", "support"), [("megatron-core", EVERYTHING), ("megatron-core", SCHEDULES), ("torchtitan", EVERYTHING)]
)
def test_no_variant_of_a_stem_is_faster_than_its_floor(kind: str, stack: str, support: Support) -> None:
    model = costs(kind, 16, stack)
    context = Context(job=model.job, num_devices=16, support=support, offloads=OFFLOADS)
    choices = Choices(offload=OFFLOADS[:2])
    start = stems(context, choices).table
    planned = scheduled(start, context, choices)
    made = sharded(planned.table, context, choices)
    for partial in (False, True):
        table = made.table
        if partial:  # some number of layers instead of all
            some = np.random.default_rng(5).integers(1, 5, len(table))
            full = table.recompute == RECOMPUTES.index(Recompute.FULL)
            table = replace(table, recompute_layers=np.where(full, some, table.recompute_layers))
        floors = time_floors(model, start, choices, partial=partial).least_s(planned.table, planned.rows)[made.rows]
        ratio = floors / model.estimate(table).step_time_s
        assert ratio.max() <= 1.0 + 1e-12
        assert np.median(ratio) > 0.8


def test_floors_of_many_runs_of_stems_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = costs("experts")
    context = Context(job=model.job, num_devices=16, support=EVERYTHING)
    start = stems(context, Choices()).table
    planned = scheduled(start, context, Choices())
    whole = time_floors(model, start, Choices(), partial=True)
    monkeypatch.setattr(module, "STEMS_AT_ONCE", 7)
    split = time_floors(model, start, Choices(), partial=True)
    assert (split.least_s(planned.table, planned.rows) == whole.least_s(planned.table, planned.rows)).all()
    assert (split.most_promising == whole.most_promising).all()
    assert sorted(whole.most_promising) == list(range(len(start)))
