"""What a device that nobody has measured would be predicted to take: published runs, with all that is known of their
device's generation beyond the datasheet taken away.

Matmuls, attention and collectives are borrowed from a measured device of another generation; shares of peak and
derates that were measured are forgotten; constants come from other sources' runs on other generations.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from glmplan.cost.grade import generation_of
from glmplan.hardware.cluster import Cluster
from glmplan.validation.bench import Bench, load_stack_once
from glmplan.validation.held_out import FEWEST, Labels, weights_between_sources
from glmplan.validation.shared_fit import UNFITTED, SharedFit, fit_shared

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
LENDERS = {"Ampere": "h100-sxm-80gb", "Hopper": "a100-sxm-80gb", "Blackwell": "h200-sxm-141gb"}
"""Generation with tables of its own -> the device of another one that lends in their place: the nearest in time."""
_FAMILY_SPREAD = 0.5
"""How far constants may move for a stack of the same family, over how far for the stack itself (as in held_out)."""


def withheld(cluster: Cluster) -> Cluster:
    """``cluster`` as if nothing had been measured on its device's generation."""
    lender = LENDERS.get(generation_of(cluster.device.architecture))
    lenders = cluster.measured.lenders if lender is None else (lender,)
    return replace(
        cluster,
        device=cluster.device.model_copy(update={"figures": {}}),
        compute_derate=1.0,
        matmul_derate=1.0,
        measured=replace(
            cluster.measured,
            device=f"{cluster.device.name}, withheld",
            lenders=lenders,
            collective_lenders=lenders,
            own=None,
        ),
    )


def withheld_step_times_s(bench: Bench, labels: Labels) -> Floats:
    """Predicted step times of the trusted cases of ``bench``, each with its device withheld; others are no number."""
    clusters = {id(case.cluster): withheld(case.cluster) for case in bench.cases}
    bare = Bench([replace(case, cluster=clusters[id(case.cluster)]) for case in bench.cases])
    # A precision that the lending device does not have can refuse a case, and then the two benches differ.
    place = {id(case.measurement): index for index, case in enumerate(bare.cases)}
    generations = np.array([generation_of(case.cluster.device.architecture) for case in bench.cases])
    sources, stacks = np.array(labels.sources), np.array(labels.stacks)
    seconds = np.full(len(bench.cases), np.nan)
    for generation, source, stack in sorted(set(zip(generations, sources, stacks, strict=True))):
        own = (generations == generation) & (sources == source) & (stacks == stack) & labels.trusted
        members = [int(i) for i in np.flatnonzero(own) if id(bench.cases[i].measurement) in place]
        if members:
            fit = _fit(bench, labels, stack, labels.trusted & (generations != generation) & (sources != source))
            rows = np.array([place[id(bench.cases[i].measurement)] for i in members])
            seconds[members] = fit.step_times_s(bare, rows, [""] * len(bare.cases))
    return seconds


def _fit(bench: Bench, labels: Labels, stack: str, elsewhere: Flags) -> SharedFit:
    """Constants of ``stack`` from the cases ``elsewhere``: of the stack, else of its family, else the presets."""
    family = load_stack_once(stack).family
    for kin, spread in (
        ([name == stack for name in labels.stacks], 1.0),
        ([name == family for name in labels.families], _FAMILY_SPREAD),
    ):
        others = np.flatnonzero(np.array(kin) & elsewhere)
        if labels.weights[others].sum() >= FEWEST:
            weights = weights_between_sources(labels, others)
            return fit_shared(bench, others, labels.machines, weights, spread=spread)
    return UNFITTED
