"""The fewest recomputed layers that fit, against trying every number."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from glmplan.cost.memory import needed_bytes
from glmplan.cost.step import cost_model
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import UNSTATED, Recompute
from glmplan.search.partial_recompute import Memory, fewest_repeated
from glmplan.software.catalog import load_stack
from tests.small_jobs import EVERYTHING, all_candidates, cluster_of, context_of, job_of, model, some_of

LAYERS = 7


@pytest.mark.parametrize("seed", range(3))
def test_bisection_finds_the_smallest_number_of_layers_that_fits(seed: int) -> None:
    job = job_of(model(layers=LAYERS), seq_len=2048)
    cost = cost_model(job, cluster_of("dgx-a100-pod", 8), load_stack("megatron-core"))
    candidates = all_candidates(context_of(job, 8, EVERYTHING), Choices(recompute=(Recompute.FULL,)))
    table = some_of(candidates, 60, seed)
    memory = cost.memory(table)
    none = needed_bytes(cost.memory(replace(table, recompute_layers=np.zeros_like(table.tp))))
    limit = float(np.quantile(np.concatenate([needed_bytes(memory), none]), 0.5))

    def fits(memory: Memory) -> npt.NDArray[np.bool_]:
        return np.asarray(needed_bytes(memory) <= limit)

    found = fewest_repeated(table, memory, LAYERS, cost.memory, fits)
    fitting = too_large = 0
    for row in range(len(table)):
        most = -(-LAYERS // int(table.pp[row]))
        one = table.take(slice(row, row + 1))
        good = [bool(fits(cost.memory(replace(one, recompute_layers=np.array([k]))))[0]) for k in range(1, most + 1)]
        assert good == sorted(good)  # more repeated layers never need more memory
        chosen = int(found.table.recompute_layers[row])
        assert found.fits[row] == good[-1]
        if good[-1]:
            assert (most if chosen == UNSTATED else chosen) == good.index(True) + 1
        fitting, too_large = fitting + sum(good), too_large + good.count(False)
    assert found.further_fitting + int(found.fits.sum()) == fitting
    assert found.further_too_large + int((~found.fits).sum()) == too_large
    again = cost.memory(found.table)
    assert needed_bytes(found.memory) == pytest.approx(needed_bytes(again), rel=1e-12)
    assert len(set(found.table.recompute_layers.tolist())) > 1
