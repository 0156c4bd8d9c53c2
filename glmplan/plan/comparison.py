"""Options side by side: figures, time parts and memory parts as rows, and what differs in sentences.

The first option is the reference. Times of jobs of different size are compared by the token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from glmplan.cost.estimate import StepEstimate
from glmplan.plan.document import Option
from glmplan.plan.part_names import MEMORY_NAMES, TIME_NAMES
from glmplan.units import format_bytes, format_seconds

Value = float | str | None
SMALLEST_SHARE = 0.01
"""Of the reference's step or memory: parts that differ by less are not named."""
NAMED_PARTS = 3
SMALLEST_CHANGE = 5e-4
"""Smaller ones are written as none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One option with the name it has in the comparison."""

    name: str
    option: Option
    tokens_per_step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the comparison: a value for each subject, and how it is written."""

    section: str
    """request, layout, summary, time or memory."""
    name: str
    values: tuple[Value, ...]
    texts: tuple[str, ...]
    changes: tuple[float | None, ...]
    """Relative to the first subject, one for each other; None where a difference has no number."""


def row_of(section: str, name: str, values: Sequence[Value], text: Callable[[float], str] = str) -> Row:
    """A row of numbers (or words), absent ones as a dash."""
    texts = tuple("-" if value is None else value if isinstance(value, str) else text(value) for value in values)
    changes = tuple(relative_change(values[0], value) for value in values[1:])
    return Row(section=section, name=name, values=tuple(values), texts=texts, changes=changes)


def relative_change(before: Value, after: Value) -> float | None:
    """``after`` over ``before`` less one; None where that is no number."""
    if isinstance(before, str) or isinstance(after, str) or not before or after is None:
        return None
    return after / before - 1.0


def change_text(change: float | None) -> str:
    """A relative change, such as ``+3.2%``; empty where there is none."""
    return "" if change is None else f"{change:+.1%}" if abs(change) >= SMALLEST_CHANGE else "0%"


def fraction_text(change: float | None) -> str:
    """The same as a plain number, for spreadsheets."""
    return "" if change is None else f"{change:.4f}"


def option_rows(subjects: Sequence[Subject]) -> list[Row]:
    """Summary, time and memory of ``subjects``; parts that none of them has are left out."""
    estimates = [subject.option.estimate for subject in subjects]
    rows = [row_of("summary", name, [read(e) for e in estimates], text) for name, read, text in SUMMARY]
    rows = [row for row in rows if any(value is not None for value in row.values)]
    for section, names, attribute, text in (
        ("time", TIME_NAMES, "time", format_seconds),
        ("memory", MEMORY_NAMES, "memory", format_bytes),
    ):
        for field, name in names.items():
            values = [float(getattr(getattr(e, attribute), field)) for e in estimates]
            if any(values):
                rows.append(row_of(section, name, values, text))
    return rows


def _bounds(low: float | None, high: float | None, text: Callable[[float], str]) -> str | None:
    return None if low is None or high is None else f"{text(low)} - {text(high)}"


SUMMARY: tuple[tuple[str, Callable[[StepEstimate], Value], Callable[[float], str]], ...] = (
    ("step time", lambda e: e.step_time_s, format_seconds),
    ("step time, 90 % interval", lambda e: _bounds(e.step_time_low90_s, e.step_time_high90_s, format_seconds), str),
    ("tokens/s", lambda e: e.tokens_per_s, "{:,.0f}".format),
    ("tokens/s/GPU", lambda e: e.tokens_per_s_per_gpu, "{:,.1f}".format),
    ("MFU", lambda e: e.mfu, "{:.1%}".format),
    ("HFU", lambda e: e.hfu, "{:.1%}".format),
    ("peak memory", lambda e: e.peak_memory_bytes, format_bytes),
    (
        "peak memory, 90 % interval",
        lambda e: _bounds(e.peak_memory_low90_bytes, e.peak_memory_high90_bytes, format_bytes),
        str,
    ),
    ("memory of a device", lambda e: e.memory_capacity_bytes, format_bytes),
    ("memory of the host", lambda e: e.host_memory_bytes or None, format_bytes),
    ("fits", lambda e: e.memory_verdict.value, str),
    ("$/hour", lambda e: e.usd_per_hour, "{:,.0f}".format),
    ("$/billion tokens", lambda e: e.usd_per_billion_tokens, "{:,.0f}".format),
    (
        "$/billion tokens, 90 % interval",
        lambda e: _bounds(e.usd_per_billion_tokens_low90, e.usd_per_billion_tokens_high90, "{:,.0f}".format),
        str,
    ),
    ("days", lambda e: e.train_days, "{:,.1f}".format),
    ("days, 90 % interval", lambda e: _bounds(e.train_low90_days, e.train_high90_days, "{:,.1f}".format), str),
    ("grade", lambda e: str(e.grade), str),
)
"""What is compared of every estimate: name, reading, writing."""


def rate_interval(subject: Subject) -> tuple[float, float]:
    """Tokens per second at the slow and the fast end of the 90 % interval."""
    estimate, tokens = subject.option.estimate, subject.tokens_per_step
    return tokens / estimate.step_time_high90_s, tokens / estimate.step_time_low90_s


def distinguishable(one: Subject, other: Subject) -> bool:
    """Whether the 90 % intervals of the two throughputs are apart."""
    (low, high), (other_low, other_high) = rate_interval(one), rate_interval(other)
    return high < other_low or other_high < low


def difference_sentences(first: Subject, other: Subject, *, same_machine: bool) -> list[str]:
    """What sets ``other`` apart from ``first``. ``same_machine``: both rest on the same cluster and stack."""
    sentences = [_speed_sentence(first, other, same_machine)]
    sentences += _time_sentences(first, other)
    return [*sentences, *_memory_sentences(first, other), *_money_sentences(first, other)]


def _speed_sentence(first: Subject, other: Subject, same_machine: bool) -> str:
    a, b = first.option.estimate, other.option.estimate
    if abs(b.tokens_per_s / a.tokens_per_s - 1.0) < SMALLEST_CHANGE:
        return f"{other.name} and {first.name} are predicted to train the same {b.tokens_per_s:,.0f} tokens/s."
    more = b.tokens_per_s / a.tokens_per_s - 1.0
    words = f"{abs(more):.1%} {'more' if more > 0 else 'fewer'} tokens/s than {first.name}"
    sentence = f"{other.name} trains {words} ({b.tokens_per_s:,.0f} against {a.tokens_per_s:,.0f})"
    if distinguishable(first, other):
        return f"{sentence}; their 90 % intervals do not overlap."
    shared = " (errors of the cluster and the stack that both share cancel in part)" if same_machine else ""
    return f"{sentence}, but their 90 % intervals overlap: not distinguishable by the prediction alone{shared}."


def _time_sentences(first: Subject, other: Subject) -> list[str]:
    """The parts of a step that differ most, for as many tokens as the first one's step has."""
    scale = first.tokens_per_step / other.tokens_per_step
    a, b = first.option.estimate, other.option.estimate
    differences = {name: getattr(b.time, name) * scale - getattr(a.time, name) for name in TIME_NAMES}
    parts = _largest(differences, TIME_NAMES, a.step_time_s, format_seconds)
    per = "" if scale == 1.0 else f" for the {first.tokens_per_step:,} tokens of a step of {first.name}"
    return [f"{other.name} spends {parts}{per}."] if parts else []


def _memory_sentences(first: Subject, other: Subject) -> list[str]:
    a, b = first.option.estimate, other.option.estimate
    more = b.peak_memory_bytes - a.peak_memory_bytes
    if abs(more) < SMALLEST_SHARE * a.peak_memory_bytes:
        return []
    differences = {name: getattr(b.memory, name) - getattr(a.memory, name) for name in MEMORY_NAMES}
    parts = _largest(differences, MEMORY_NAMES, a.peak_memory_bytes, format_bytes)
    words = f"{format_bytes(abs(more))} {'more' if more > 0 else 'less'} memory on its fullest device"
    overlap = a.peak_memory_high90_bytes >= b.peak_memory_low90_bytes
    overlap = overlap and b.peak_memory_high90_bytes >= a.peak_memory_low90_bytes
    doubt = " (the 90 % intervals overlap)" if overlap else ""
    return [f"{other.name} needs {words}{doubt}{f': {parts}' if parts else ''}."]


def _largest(differences: dict[str, float], names: dict[str, str], whole: float, text: Callable[[float], str]) -> str:
    ordered = sorted(differences.items(), key=lambda item: -abs(item[1]))
    return ", ".join(
        f"{text(abs(value))} {'more' if value > 0 else 'less'} on {names[name]}"
        for name, value in ordered[:NAMED_PARTS]
        if abs(value) >= SMALLEST_SHARE * whole
    )


def _money_sentences(first: Subject, other: Subject) -> list[str]:
    a, b = first.option.estimate, other.option.estimate
    unpriced = [s.name for s in (first, other) if s.option.estimate.usd_per_billion_tokens is None]
    if unpriced:
        verb = "have" if len(unpriced) == 2 else "has"
        return [f"{' and '.join(unpriced)} {verb} no price, so that money is not compared."]
    cost_a, cost_b = a.usd_per_billion_tokens, b.usd_per_billion_tokens
    assert cost_a is not None and cost_b is not None
    words = f"${cost_b:,.0f} a billion tokens against ${cost_a:,.0f} ({change_text(cost_b / cost_a - 1.0)})"
    days = ""
    if a.train_days is not None and b.train_days is not None:
        days = f"; the whole run takes {b.train_days:,.1f} days against {a.train_days:,.1f}"
    return [f"{other.name} costs {words}{days}."]
