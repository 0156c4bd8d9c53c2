"""Leaving layouts out by their lower bounds changes nothing but the time that a search takes."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.cost.memory import needed_bytes
from glmplan.cost.step import cost_model
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import Recompute
from glmplan.layout.rules import Context
from glmplan.search import exhaustive as module
from glmplan.search.exhaustive import NOT_FASTER, SearchResult, search_layouts
from glmplan.search.objective import Objective
from glmplan.search.tally import TIES, Tally
from glmplan.software.catalog import load_stack
from tests.small_jobs import all_candidates, cluster_of, job_of
from tests.strategies import architectures

STACKS = ("megatron-core", "torchtitan", "deepspeed")
CHOICES = (Choices(), Choices(recompute=(Recompute.FULL,)), Choices(recompute=(Recompute.FULL,), recompute_layers=(1,)))


@settings(max_examples=80)
@given(data=st.data())
def test_a_search_with_lower_bounds_finds_the_list_of_one_without(data: st.DataObject) -> None:
    stack = load_stack(data.draw(st.sampled_from(STACKS)))
    job = job_of(
        data.draw(architectures(max_layers=6)), seq_len=128, global_batch=data.draw(st.sampled_from([4, 8, 12]))
    )
    devices = data.draw(st.sampled_from([2, 4, 8, 24]))
    context = Context(job=job, num_devices=devices, support=stack.support)
    choices = data.draw(st.sampled_from(CHOICES[:2] if stack.name == "deepspeed" else CHOICES))
    cluster = cluster_of("dgx-a100-pod", devices)
    model = cost_model(job, cluster, stack)
    table = all_candidates(context, choices)
    if not len(table):
        return
    share = float(np.quantile(needed_bytes(model.memory(table)), data.draw(st.floats(0.05, 1.0))))
    margin = 1.0 - share / cluster.device.memory_capacity_bytes
    objective = data.draw(st.sampled_from(get_args(Objective)))
    keep = data.draw(st.integers(1, 12))

    def search(*, prunes: bool) -> SearchResult:
        visit = None if prunes else lambda _: None
        return search_layouts(
            model, context, choices, objective=objective, memory_margin=margin, keep=keep, visit=visit
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FIRST_ROWS", 4)
        pruned = search(prunes=True)
    whole = search(prunes=False)
    assert pruned.best == whole.best
    assert pruned.smallest == whole.smallest
    assert NOT_FASTER not in whole.pruned
    assert pruned.considered <= whole.considered


def test_what_may_tie_with_the_last_of_the_best_is_not_hopeless() -> None:
    tally = Tally(objective="time", keep=2)
    tally.values = np.array([1.0])
    assert not tally.hopeless(np.array([1e9])).any()
    tally.values = np.array([1.0, 2.0])
    assert tally.hopeless(np.array([1.0, 2.0, 2.0 * (1 + TIES / 2), 2.0 * (1 + 2 * TIES)])).tolist() == [0, 0, 0, 1]
