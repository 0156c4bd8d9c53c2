"""The accuracy record in words and tables (Markdown); everything in it is read from the record's document."""

from collections.abc import Sequence
from typing import Any

from glmplan.validation.record import COLUMNS

_HEAD = """# Accuracy

How far predictions lie from published measurements, in step time and in memory. Made by `make reports`; the same
figures stand in `accuracy.json`. Averages count re-runs of one configuration once; cases are of trust A and B, and
doubtful rows stand apart at the end.

- *Prior*: the software presets as they ship, nothing fitted to the set. (The presets' values come from
  microbenchmarks, publications and a first look at runs of many sources.)
- *Fitted*: 5-fold cross-validation inside a software stack on a device. A case is never among those that its constants
  were fitted to; its machine is.
- *Unseen*: every constant from other sources than the case's own (leave one source out): of the same stack where other
  sources have runs of it, else of the stack's family, else the presets. Nothing is known of the machine.
- *+1 step*: unseen, with the level set by one measured step of the same stack on the same machine, averaged over every
  choice of that step.
- *Constant HFU*: the best single efficiency for the set, fitted to the whole of it; *gain* is its error over ours
  (fitted). A set with little gain proves little.
"""


def record_markdown(document: dict[str, Any]) -> str:
    """The whole page."""
    cases = document["cases"]
    parts = [
        _HEAD,
        f"{cases['read']} cases were read, {cases['predicted']} predicted, {cases['skipped']} skipped with a reason "
        "(`glmplan validate --cases published --verbose` lists them).",
        *_time(document),
        *_memory(document),
        *_ranks_and_intervals(document),
        *_repeats(document),
        *_misfits(document),
        *_doubtful(document),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _time(document: dict[str, Any]) -> list[str]:
    headers = ("set", "conf.", "prior", "bias", "fitted", "median", "worst", "unseen", "bias", "+1 step")
    rows = [_time_row(row) for row in document["time"] if row["cases"]]
    return ["## Step time", _table((*headers, "const. HFU", "gain", "others"), rows), _references(document)]


def _memory(document: dict[str, Any]) -> list[str]:
    return [
        "## Memory",
        "Fitted and unseen: a scale and an additive term per stack and way of counting, found as for step time. "
        + _not_fitting(document),
        _table(
            ("set", "conf.", "prior", "bias", "worst", "fitted", "unseen", "others"),
            [_memory_row(row) for row in document["memory"]],
        ),
    ]


def _ranks_and_intervals(document: dict[str, Any]) -> list[str]:
    return [
        "## Ranking inside sweeps",
        "Sweeps of one source, model and number of devices whose best run is more than 7 % faster than the worst. "
        "Regret is what the layout that is predicted fastest loses to the one measured fastest.",
        _table(
            ("column", "sweeps", "Spearman, mean", "regret, mean", "regret, worst"),
            [_ranking_row(name, document["ranking"][name]) for name in COLUMNS],
        ),
        "## 90 % intervals",
        "Split conformal, from residuals of held-out predictions. The factors are measured over predicted; the last "
        "column holds each source against an interval that other sources made; tails are such that nine of ten "
        "cases lie inside when every second is of a new source. In use, a worse grade is never "
        "narrower than a better one.\n\n"
        "- *calibrated*: by a calibration to other folds of the same stack and device, machines not told apart.\n"
        "- *transferred*: the column *unseen* above.\n"
        "- *datasheet*: as unseen, with all that was measured on the device's generation withheld: matmuls, attention "
        "and collectives come from another generation's tables scaled by the datasheets, constants from other "
        "sources' runs on other generations.\n\n"
        "Step time, by kind of work:",
        _table(
            ("grade", "work", "conf.", "low", "high", "inside", "inside, new source"),
            [_interval_row(row) for row in document["intervals"]["step_time"]],
        ),
        "Memory, by way of counting. A stack's memory is predicted alike whether its constants were calibrated or not; "
        "grades and ways with fewer than 20 configurations share the interval of their neighbours (`intervals.yaml`).",
        _table(
            ("grade", "counted as", "conf.", "low", "high", "inside", "inside, new source"),
            [_interval_row(row) for row in document["intervals"]["memory"]],
        ),
    ]


def _repeats(document: dict[str, Any]) -> list[str]:
    rows = [
        (row["set"], str(row["groups"]), str(row["runs"]), _percent(row["spread_median"]),
         _percent(row["spread_largest"]), _percent(row["floor"]), _percent(row["fitted"]),
         " against ".join(row["largest"]))
        for row in document["repeats"]
    ]  # fmt: skip
    return [
        "## The irreducible part",
        "Trusted runs whose inputs are equal (job, layout, devices, stack), so that any predictor of them gives one "
        "step time. *Spread* is the slowest over the fastest of a group, less 1. *Floor* is the mean error "
        "left when every group is predicted by its own median, *fitted* ours on the same runs. A floor near the fitted "
        "error says that more inputs are needed (release, recipe, container), not a better model of these; a floor "
        "far below it says that the model is at fault. Sets without such runs are missing: nothing is known of theirs.",
        _table(("set", "groups", "runs", "spread, median", "largest", "floor", "fitted", "largest between"), rows),
    ]


def _misfits(document: dict[str, Any]) -> list[str]:
    rows = [
        (row["id"], f"{row['measured_s']:g} s", *(_signed(row[name]) for name in COLUMNS), _percent(row["spread"]),
         _shares(row["parts"]), row["cause"])
        for row in document["misfits"]
    ]  # fmt: skip
    return [
        "## Where even the fit misses",
        "The largest errors of the fitted column, one a configuration, with the spread of the runs that have the same "
        "inputs (empty: there is no other), the largest parts of the predicted step and the cause where it is known.",
        _table(("case", "measured", "prior", "fitted", "unseen", "spread", "predicted step", "cause"), rows),
    ]


def _doubtful(document: dict[str, Any]) -> list[str]:
    rows = [
        (row["id"], str(row["rows"]), _signed(row["prior"]), _signed(row["fitted"]), row["reason"])
        for row in document["doubtful"]
    ]
    return [
        "## Rows that are doubtful at the source",
        "Never learnt from (a table that is doubtful as a whole is fitted by itself) and left out of the averages "
        "above, but for vTrain's single-node table. With them:",
        _table(
            ("set", "rows", "prior", "fitted", "without: prior", "fitted"),
            [_doubtful_set(row) for row in document["time"] if "with_doubtful" in row],
        ),
        _table(("such as", "rows", "prior", "fitted", "why doubtful"), rows),
    ]


def _interval_row(row: dict[str, Any]) -> tuple[str, ...]:
    bounds = ("" if row[name] is None else f"{row[name]:g}" for name in ("low", "high"))
    shares = (_whole(row[name]) for name in ("inside", "inside_new_source"))
    return (row["grade"], row["kind"].replace("_", " "), str(row["configurations"]), *bounds, *shares)


def time_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """Headers and rows of the step-time table, for the terminal."""
    headers = ("set", "conf.", "prior", "fitted", "unseen", "+1 step", "const. HFU", "gain")
    rows = [
        (
            row["set"],
            str(row["configurations"]),
            *(_percent(row[name]["mape"]) for name in COLUMNS),
            _percent(row["after_one_step"]),
            _percent(row["constant_hfu"]),
            f"{row['times_better']:.1f}x",
        )
        for row in document["time"]
        if row["cases"]
    ]
    return [headers, *rows]


def _time_row(row: dict[str, Any]) -> tuple[str, ...]:
    prior, fitted, unseen = (row[name] for name in COLUMNS)
    return (
        row["set"],
        str(row["configurations"]),
        _percent(prior["mape"]),
        _signed(prior["bias"]),
        _percent(fitted["mape"]),
        _percent(fitted["median"]),
        _percent(fitted["worst"]),
        _percent(unseen["mape"]),
        _signed(unseen["bias"]),
        _percent(row["after_one_step"]),
        _percent(row["constant_hfu"]),
        f"{row['times_better']:.1f}x",
        _others(row),
    )


def _memory_row(row: dict[str, Any]) -> tuple[str, ...]:
    prior = row["prior"]
    return (
        row["set"],
        str(row["configurations"]),
        _percent(prior["mape"]),
        _signed(prior["bias"]),
        _percent(prior["worst"]),
        _percent(row["fitted"]["mape"]),
        _percent(row["unseen"]["mape"]),
        _others(row),
    )


def _ranking_row(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    if not row["sweeps"]:
        return (name, "0", "", "", "")
    return (
        name,
        str(row["sweeps"]),
        f"{row['spearman_mean']:.2f}",
        _percent(row["regret_mean"]),
        _percent(row["regret_max"]),
    )


def _doubtful_set(row: dict[str, Any]) -> tuple[str, ...]:
    both = row["with_doubtful"]
    added = both["cases"] - row["cases"]
    return (
        row["set"],
        str(added),
        _percent(both["prior"]),
        _percent(both["fitted"]),
        _percent(row["prior"]["mape"]),
        _percent(row["fitted"]["mape"]),
    )


def _others(row: dict[str, Any]) -> str:
    return ", ".join(f"{item['tool']} {_percent(item['fraction'])}" for item in row["references"])


def _references(document: dict[str, Any]) -> str:
    said = {
        f"- {item['tool']}, {row['set']}: {_percent(item['fraction'])} ({item['source']})"
        for row in (*document["time"], *document["memory"])
        for item in row["references"]
    }
    return "For comparison, errors that others have on these sets, or on larger ones that hold them:\n\n" + "\n".join(
        sorted(said)
    )


def _not_fitting(document: dict[str, Any]) -> str:
    found = document["not_fitting"]
    if not found:
        return "No trusted run that ran is predicted not to fit."
    worst = max(found, key=lambda item: float(item["memory_fraction"]))
    return (
        f"{len(found)} trusted runs that ran are predicted not to fit; the furthest is `{worst['id']}` at "
        f"{worst['memory_fraction']:.2f} of its device's memory."
    )


def _shares(parts: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {share:.0%}" for name, share in parts.items() if share >= 0.01)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f} %"


def _whole(value: float) -> str:
    return f"{100 * value:.0f} %"


def _table(headers: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = [f"| {' | '.join(headers)} |", f"|{'---|' * len(headers)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines)
