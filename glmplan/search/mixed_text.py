"""Mixed pipelines as rows, sentences and a record."""

from typing import Any

from glmplan.layout.parallel_layout import ParallelLayout, Recompute
from glmplan.search.mixed_cluster import MixedPipeline
from glmplan.search.mixed_search import MixedSearch
from glmplan.units import format_bytes, format_seconds

HEADERS = ("rank", "layout", "step time", "even stages", "faster than even")
STAGE_HEADERS = ("stage", "cluster", "layers", "recomputed", "memory")


def mixed_rows(found: MixedSearch) -> list[tuple[str, ...]]:
    """One row a layout."""
    return [
        (
            str(rank),
            each.layout.label(),
            format_seconds(each.step_time_s),
            "does not fit" if each.even_step_time_s is None else format_seconds(each.even_step_time_s),
            "" if each.even_step_time_s is None else f"{each.even_step_time_s / each.step_time_s - 1.0:.1%}",
        )
        for rank, each in enumerate(found.best, start=1)
    ]


def stage_rows(pipeline: MixedPipeline) -> list[tuple[str, ...]]:
    """One row a stage."""
    layout = pipeline.layout
    columns = zip(
        pipeline.stage_clusters, layout.stage_layers or (), recomputed(layout), pipeline.peak_memory_bytes, strict=True
    )
    return [
        (str(stage), cluster, str(layers), str(again), format_bytes(held))
        for stage, (cluster, layers, again, held) in enumerate(columns, start=1)
    ]


def recomputed(layout: ParallelLayout) -> tuple[int, ...]:
    """Layers of each stage whose whole forward pass is repeated."""
    held = layout.stage_layers or ()
    if layout.recompute is not Recompute.FULL:
        return (0,) * len(held)
    if layout.stage_recompute_layers is not None:
        return layout.stage_recompute_layers
    return held if layout.recompute_layers is None else tuple(min(layout.recompute_layers, own) for own in held)


def mixed_sentences(found: MixedSearch) -> list[str]:
    """What was found, and how good it is."""
    best = found.best[0]
    proof = "no split of the layouts considered is faster" if found.gap == 0.0 else f"at most {found.gap:.2%} slower"
    sentences = [f"{best.layout.label()} takes {format_seconds(best.step_time_s)} a step; {proof} within the model."]
    if found.gap > 0.0:
        sentences[0] = f"{best.layout.label()} takes {format_seconds(best.step_time_s)} a step, {proof} than the best."
    if best.even_step_time_s is not None:
        gain = best.even_step_time_s / best.step_time_s - 1.0
        sentences.append(f"That is {gain:.1%} faster than with as many layers on every stage.")
    return sentences


def mixed_record(found: MixedSearch) -> dict[str, Any]:
    """For JSON."""
    return {
        "considered": found.considered,
        "solved": found.solved,
        "gap": found.gap,
        "best": [
            {
                "layout": each.layout.model_dump(mode="json"),
                "stage_clusters": list(each.stage_clusters),
                "step_time_s": each.step_time_s,
                "bound_step_time_s": each.bound_step_time_s,
                "even_step_time_s": each.even_step_time_s,
                "peak_memory_bytes": list(each.peak_memory_bytes),
            }
            for each in found.best
        ],
    }
