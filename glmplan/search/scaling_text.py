"""Scaling curves as rows of text and as sentences."""

from collections.abc import Sequence

from glmplan.plan.part_names import TIME_NAMES
from glmplan.search.scaling import Point, ScalingCurve
from glmplan.units import format_seconds

HEADERS = (
    "scaling",
    "GPUs",
    "global batch",
    "layout",
    "step time",
    "90 % interval",
    "tokens/s",
    "tokens/s/GPU",
    "speed-up",
    "efficiency",
    "MFU",
    "$/B tokens",
    "days",
)
LOW_EFFICIENCY = 0.8


def scaling_rows(curves: Sequence[ScalingCurve]) -> list[list[str]]:
    """One row a point, curve after curve."""
    return [_row(curve, point) for curve in curves for point in curve.points]


def _row(curve: ScalingCurve, point: Point) -> list[str]:
    cells = [curve.mode, f"{point.num_gpus:,}", f"{point.global_batch:,}"]
    speedup, efficiency = curve.speedup(point), curve.efficiency(point)
    if point.option is None or speedup is None or efficiency is None:
        return [*cells, "nothing fits", *["-"] * (len(HEADERS) - 4)]
    e = point.option.estimate
    return [
        *cells,
        point.option.layout.label(),
        format_seconds(e.step_time_s),
        f"{format_seconds(e.step_time_low90_s)} - {format_seconds(e.step_time_high90_s)}",
        f"{e.tokens_per_s:,.0f}",
        f"{e.tokens_per_s_per_gpu:,.1f}",
        f"{speedup:.2f}",
        f"{efficiency:.1%}",
        f"{e.mfu:.1%}",
        "-" if e.usd_per_billion_tokens is None else f"{e.usd_per_billion_tokens:,.0f}",
        "-" if e.train_days is None else f"{e.train_days:,.1f}",
    ]


def scaling_sentences(curves: Sequence[ScalingCurve]) -> list[str]:
    """How far each curve holds, and what takes the rest."""
    sentences = []
    for curve in curves:
        fitting = [point for point in curve.points if point.option is not None]
        if len(fitting) > 1:
            sentences += [_reach_sentence(curve, fitting), *_loss_sentences(curve, fitting)]
        sentences += [
            f"On {point.num_gpus:,} {'GPU' if point.num_gpus == 1 else 'GPUs'} {point.obstacle.removeprefix('plan: ')}."
            for point in curve.points
            if point.option is None
        ]
    return list(dict.fromkeys(sentences))


def _reach_sentence(curve: ScalingCurve, fitting: Sequence[Point]) -> str:
    first, last = fitting[0], fitting[-1]
    speedup, efficiency = curve.speedup(last), curve.efficiency(last)
    low = next((p for p in fitting if (curve.efficiency(p) or 0.0) < LOW_EFFICIENCY), None)
    words = f"; from {low.num_gpus:,} GPUs on it is below {LOW_EFFICIENCY:.0%}" if low is not None else ""
    return (
        f"{curve.mode.capitalize()} scaling from {first.num_gpus:,} to {last.num_gpus:,} GPUs"
        f" ({last.num_gpus / first.num_gpus:.3g} times as many) trains {speedup:.3g} times the tokens/s,"
        f" an efficiency of {efficiency:.0%}{words}."
    )


def _loss_sentences(curve: ScalingCurve, fitting: Sequence[Point]) -> list[str]:
    """What a device spends more on, by the token, at the last point than at the first."""
    first, last = ({name: _share(point, name) for name in TIME_NAMES} for point in (fitting[0], fitting[-1]))
    whole = sum(first.values())
    more = {name: (last[name] - first[name]) / whole for name in TIME_NAMES}
    largest = [(name, value) for name, value in sorted(more.items(), key=lambda item: -item[1])[:3] if value >= 0.01]
    if not largest:
        return []
    parts = ", ".join(f"{TIME_NAMES[name]} {value:+.0%}" for name, value in largest)
    return [
        f"In {curve.mode} scaling the device time of a token grows, against {fitting[0].num_gpus:,} GPUs, by: {parts}."
    ]


def _share(point: Point, name: str) -> float:
    """Device-seconds of a part for one sequence."""
    assert point.option is not None
    seconds = float(getattr(point.option.estimate.time, name))
    return seconds * point.num_gpus / point.global_batch


def curve_record(curve: ScalingCurve) -> dict[str, object]:
    """A curve for JSON, in SI units."""
    return {
        "mode": curve.mode,
        "points": [
            {
                "num_gpus": point.num_gpus,
                "global_batch": point.global_batch,
                "speedup": curve.speedup(point),
                "efficiency": curve.efficiency(point),
                "option": None if point.option is None else point.option.model_dump(mode="json"),
                "obstacle": point.obstacle,
            }
            for point in curve.points
        ],
    }
