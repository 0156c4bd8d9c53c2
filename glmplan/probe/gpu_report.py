"""A GPU session as Markdown: the machine's rates, and predicted against measured steps."""

import statistics
from collections.abc import Callable, Sequence

from glmplan.hardware.measurements import Measurements
from glmplan.probe.gpu_record import SessionRecord, SettingRecord
from glmplan.units import format_bytes, format_quantity, format_seconds


def report_text(record: SessionRecord, measured: Measurements) -> str:
    """The whole report."""
    lines = [f"# GPU session: {record.device}", "", *_facts(record), "", "## Predicted against measured steps", ""]
    lines += _settings_table(record.settings)
    lines += ["", *accuracy_lines(record.settings)]
    lines += ["", "## This machine", "", *_machine_lines(record, measured)]
    if record.notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in record.notes)]
    return "\n".join(lines) + "\n"


def _facts(record: SessionRecord) -> list[str]:
    return [
        f"Made on {record.date} by `{record.command}` with glmplan {record.glmplan_version} and {record.runtime}, in "
        f"{format_seconds(record.seconds_used)} of {format_seconds(record.budget_s)}.",
        "",
        f"Model {record.model} ({format_quantity(record.parameters, '')} parameters), {record.precision}, "
        f"{record.global_batch} sequences of {record.seq_len} tokens a step on one device, {record.steps} steps a "
        f"setting, synthetic tokens (seed {record.seed}). Predictions were made from `{record.profile}`, measured in "
        "the same session, before any step was run.",
    ]


def _settings_table(settings: Sequence[SettingRecord]) -> list[str]:
    headers = ["stack", "layout", "predicted", "90 % interval", "measured", "error"]
    headers += ["predicted memory", "measured memory", "error", "tokens/s", "outcome"]
    lines = [f"| {' | '.join(headers)} |", "|" + "---|" * len(headers)]
    for setting in settings:
        cells = (
            setting.stack,
            setting.layout,
            format_seconds(setting.predicted_step_time_s),
            f"{format_seconds(setting.low90_s)} to {format_seconds(setting.high90_s)}",
            _optional(setting.measured_step_time_s, format_seconds),
            _optional(setting.time_error, _percent),
            format_bytes(setting.predicted_memory_bytes),
            _optional(setting.measured_memory_bytes, format_bytes),
            _optional(setting.memory_error, _percent),
            _optional(setting.tokens_per_s, lambda value: f"{value:,.0f}"),
            setting.outcome + (f": {setting.note}" if setting.note else ""),
        )
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return lines


def accuracy_lines(settings: Sequence[SettingRecord]) -> list[str]:
    """How far predictions were off, in sentences: size, sign, interval, and what the best pick cost."""
    timed = [setting for setting in settings if setting.measured_step_time_s is not None]
    if not timed:
        return ["No setting was measured."]
    errors = [setting.time_error for setting in timed if setting.time_error is not None]
    inside = sum(setting.low90_s <= (setting.measured_step_time_s or 0) <= setting.high90_s for setting in timed)
    lines = [
        f"- Step time, {len(timed)} settings: mean absolute error {_share(errors)}, bias "
        f"{_percent(sum(errors) / len(errors))}, worst {_percent(max(errors, key=abs))}; {inside} of {len(timed)} "
        "inside the 90 % interval."
    ]
    memory = [setting.memory_error for setting in timed if setting.memory_error is not None]
    if memory:
        lines.append(
            f"- Peak memory, {len(memory)} settings: mean absolute error {_share(memory)}, bias "
            f"{_percent(sum(memory) / len(memory))}, worst {_percent(max(memory, key=abs))}."
        )
    picked = min(timed, key=lambda setting: setting.predicted_step_time_s)
    best = min(timed, key=lambda setting: setting.measured_step_time_s or 0.0)
    regret = (picked.measured_step_time_s or 0.0) / (best.measured_step_time_s or 1.0) - 1
    lines.append(
        f"- Best pick: predicted {picked.stack} {picked.layout}, measured {best.stack} {best.layout}; picking by "
        f"prediction costs {regret:.1%}."
    )
    return lines


def _machine_lines(record: SessionRecord, measured: Measurements) -> list[str]:
    lines = []
    if measured.matmul is not None:
        rows = measured.matmul
        rates: dict[str, list[float]] = {}
        for dtype, m, n, k, seconds in zip(rows.dtype, rows.m, rows.n, rows.k, rows.seconds, strict=True):
            rates.setdefault(dtype, []).append(2.0 * m * n * k / seconds)
        for dtype, values in rates.items():
            lines.append(
                f"- Matmul {dtype}, {len(values)} shapes: best {format_quantity(max(values), 'FLOP/s')}, median "
                f"{format_quantity(statistics.median(values), 'FLOP/s')}."
            )
    for name, attention in (("forward", measured.attention), ("backward", measured.attention_backward)):
        if attention is not None:
            lines.append(f"- Causal attention {name}: {len(attention.seconds)} shapes.")
    if measured.memory_copy is not None:
        copies = measured.memory_copy
        rate = max(2 * size / seconds for size, seconds in zip(copies.bytes, copies.seconds, strict=True))
        lines.append(f"- Copy in device memory: best {format_quantity(rate, 'B/s')}, read and write counted.")
    if measured.host_launch_s is not None:
        lines.append(f"- Host time of one eager operator: {format_seconds(measured.host_launch_s)}.")
    if record.allocator is not None:
        facts = record.allocator
        blocks, segments = facts["smallest_block_bytes"], facts["smallest_segment_bytes"]
        lines.append(
            f"- Allocator: {format_bytes(facts['context_bytes'])} outside it (contexts, libraries); blocks of "
            f"{format_bytes(blocks)} in segments of {format_bytes(segments)}; a step's allocations reserve "
            f"{facts['fragmentation_fraction']:.1%} more than they use."
        )
    return lines


def _optional(value: float | None, text: Callable[[float], str]) -> str:
    return "" if value is None else text(value)


def _percent(value: float) -> str:
    return f"{value:+.1%}"


def _share(errors: Sequence[float]) -> str:
    return f"{sum(map(abs, errors)) / len(errors):.1%}"
