"""What layouts must keep that state their stages, a number of recomputed layers, or what goes to the host."""

import numpy as np

from glmplan.layout.parallel_layout import OFFLOADS, RECOMPUTES, LayoutTable, Offload, ParallelLayout, Recompute
from glmplan.layout.stages import Mask


def states_stages(table: LayoutTable) -> Mask:
    """Layouts that say how many layers each chunk has."""
    return np.asarray((table.stage_layers >= 0).any(axis=1))


def stages_misfit(table: LayoutTable, total_layers: int) -> Mask:
    """Stated stages that are not ``pp * virtual_stages`` chunks, do not hold all layers, or hold nothing at all."""
    stated = table.stage_layers >= 0
    chunks = stated.sum(axis=1)
    held = np.where(stated, table.stage_layers, 0)
    index = np.arange(held.shape[1])
    inner = stated & (index > 0) & (index < chunks[:, None] - 1)
    wrong = (chunks != table.pp * table.virtual_stages) | (held.sum(axis=1) != total_layers)
    return np.asarray((chunks > 0) & (wrong | (inner & (held == 0)).any(axis=1)))


def stages_sentence(layout: ParallelLayout, total_layers: int) -> str:
    """Why the stated stages do not fit."""
    stated = layout.stage_layers or ()
    chunks = layout.pp * layout.virtual_stages
    return (
        f"layout.stage_layers: {len(stated)} chunks with {sum(stated)} layers are not pp x virtual_stages = {chunks}"
        f" chunks with {total_layers}; only the first and the last may be empty"
    )


def recompute_layers_misfit(table: LayoutTable, *, supported: bool) -> Mask:
    """A number of recomputed layers without full recomputation, stated twice, not for every stage, or in a stack that
    recomputes all layers alike."""
    one, each = table.recompute_layers >= 0, (table.stage_recompute_layers >= 0).sum(axis=1)
    full = table.recompute == RECOMPUTES.index(Recompute.FULL)
    stated = one | (each > 0)
    return np.asarray(stated & (~full | (not supported) | (one & (each > 0)) | ((each > 0) & (each != table.pp))))


def recompute_layers_sentence(layout: ParallelLayout, stack_name: str, *, supported: bool) -> str:
    """Why the number of recomputed layers does not fit."""
    each = layout.stage_recompute_layers
    given = f"{len(each)} numbers" if each is not None else str(layout.recompute_layers)
    field = "recompute_layers" if each is None else "stage_recompute_layers"
    if not supported:
        return (
            f"layout.{field}: {given} is not supported by {stack_name}, which recomputes all layers alike; leave it out"
        )
    return (
        f"layout.{field}: {given} with recompute {layout.recompute}, pp {layout.pp}; it needs recompute full,"
        " and either one number for all stages or one for each"
    )


def offload_misfit(table: LayoutTable, possible: tuple[Offload, ...]) -> Mask:
    """Layouts that offload what the host's profile has no figures for."""
    return ~np.isin(table.offload, [OFFLOADS.index(Offload.NONE), *(OFFLOADS.index(kind) for kind in possible)])


def offload_sentence(layout: ParallelLayout) -> str:
    """What is missing."""
    what = "the device's host_link"
    if layout.offload is not Offload.ACTIVATIONS:
        what += " and the node's host.memory_bandwidth"
    return f"layout.offload: {layout.offload} needs {what} in the cluster's profile; state them or use none"
