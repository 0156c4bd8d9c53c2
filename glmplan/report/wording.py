"""Numbers and layouts in words, the same on the page and in Markdown."""

from glmplan.layout.parallel_layout import ParallelLayout, Recompute, Sharding
from glmplan.units import format_bytes


def percent(fraction: float, *, digits: int = 1) -> str:
    """``0.123`` as ``12.3 %``, with a space that does not break."""
    return f"{fraction * 100:.{digits}f}\N{NO-BREAK SPACE}%"


def signed_percent(fraction: float) -> str:
    """``0.123`` as ``+12.3 %``."""
    return f"{fraction * 100:+.1f}\N{NO-BREAK SPACE}%"


def share(part: float, whole: float) -> float:
    """``part / whole``, and 0 where there is no whole."""
    return part / whole if whole else 0.0


def counted(number: int, noun: str) -> str:
    """``1 layout``, ``2,000 layouts``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def rate(value: float) -> str:
    """A count per second, with thousands separated and no digits that mean nothing."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def dollars(value: float) -> str:
    """An amount in US dollars, whole ones above 100."""
    return f"${value:,.0f}" if abs(value) >= 100 else f"${value:,.2f}"


def signed_bytes(value: float) -> str:
    """Bytes that may be negative."""
    return f"-{format_bytes(-value)}" if value < 0 else format_bytes(value)


def switch(value: object) -> str:
    """A setting's value as text, ``on`` and ``off`` for yes and no."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def layout_words(layout: ParallelLayout) -> str:
    """The layout in words, techniques that are off left out."""
    degrees = (
        (layout.tp, "tensor parallel"),
        (layout.pp, "pipeline parallel"),
        (layout.cp, "context parallel"),
        (layout.ep, "expert parallel"),
        (layout.dp, "data parallel"),
    )
    parts = [f"{degree}-way {name}" for degree, name in degrees if degree > 1] or ["one device, nothing split"]
    if layout.sharding is not Sharding.NONE:
        parts.append(f"{layout.sharding} sharding over groups of {layout.shard_group}")
    if layout.virtual_stages > 1:
        parts.append(f"{layout.virtual_stages} model chunks on each pipeline rank")
    if layout.sequence_parallel:
        parts.append("sequence parallel")
    parts.append(f"micro-batches of {counted(layout.micro_batch, 'sequence')}, {layout.grad_accum} per step")
    parts.append("no recomputation" if layout.recompute is Recompute.NONE else f"{layout.recompute} recomputation")
    return ", ".join(parts)
