"""A sensitivity study and the worth of upgrades as rows of text and as sentences."""

from collections.abc import Sequence
from dataclasses import asdict, fields

from glmplan.plan.document import Option
from glmplan.search.sensitivity import Sensitivity, SensitivityStudy
from glmplan.search.setting import figure_text
from glmplan.search.upgrades import Upgrade

NAMED_FIGURES = 3
PRICE = "cluster.usd_per_device_hour"
SMALLEST_ELASTICITY = 0.02
"""Weaker figures are not named in the sentences."""
UPGRADE_HEADERS = ("upgrade", "from", "to", "best layout", "tokens/s", "gain", "$/B tokens", "worth $/GPU-hour")


def sensitivity_headers(study: SensitivityStudy) -> tuple[str, ...]:
    """Of ``sensitivity_rows``."""
    swing = f"{study.swing_fraction:.0%}"
    return ("figure", "now", "elasticity of tokens/s", "of $/token", f"tokens/s at -{swing}", f"at +{swing}")


def sensitivity_rows(study: SensitivityStudy) -> list[list[str]]:
    """One row a figure, the strongest first; re-planned swings are marked."""
    return [
        [
            row.name,
            figure_text(row.value, row.unit),
            _elasticity(row.throughput_elasticity),
            _elasticity(row.cost_elasticity),
            *(_swing(end, study.estimate.tokens_per_s) for end in (row.low_tokens_per_s, row.high_tokens_per_s)),
        ]
        for row in study.rows
    ]


def _elasticity(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) >= 5e-4 else "0"


def _swing(tokens_per_s: float | None, base: float) -> str:
    return "nothing fits" if tokens_per_s is None else f"{tokens_per_s:,.0f} ({tokens_per_s / base - 1.0:+.1%})"


def upgrade_rows(found: Sequence[Upgrade]) -> list[list[str]]:
    """One row an upgrade."""
    rows = []
    for upgrade in found:
        cells = [upgrade.name, upgrade.before, upgrade.after]
        if upgrade.option is None:
            rows.append([*cells, "nothing fits", "-", "-", "-", "-"])
            continue
        estimate, gain, worth = upgrade.option.estimate, upgrade.gain_fraction, upgrade.usd_per_device_hour
        price = estimate.usd_per_billion_tokens
        cells += [upgrade.option.layout.label(), f"{estimate.tokens_per_s:,.0f}"]
        cells += ["-" if gain is None else f"{gain:.1%}", "-" if price is None else f"{price:,.0f}"]
        rows.append([*cells, "-" if worth is None else f"{worth:,.2f}"])
    return rows


def sensitivity_sentences(study: SensitivityStudy, base: Option | None, found: Sequence[Upgrade]) -> list[str]:
    """What binds, what does not, and what an upgrade is worth."""
    rates = [row for row in study.rows if not row.name.endswith("_derate") and row.name != PRICE]
    hardware = [row for row in rates if abs(row.throughput_elasticity) >= SMALLEST_ELASTICITY]
    sentences = []
    if hardware:
        parts = [_effect(row) for row in hardware[:NAMED_FIGURES]]
        sentences.append(f"One per cent more of a figure changes tokens/s by: {', '.join(parts)}.")
    if weak := [row.name for row in rates if row not in hardware and not row.replanned]:
        sentences.append(f"Hardly felt: {', '.join(weak)}.")
    if any(row.replanned for row in study.rows):
        names = ", ".join(row.name for row in study.rows if row.replanned)
        sentences.append(
            f"The swings of {names} are those of the best layout of each, the elasticity that of this one."
        )
    if base is not None and base.layout != study.layout:
        sentences.append(
            f"Upgrades are held against the best layout of the machine as it is, {base.layout.label()}"
            f" ({base.estimate.tokens_per_s:,.0f} tokens/s)."
        )
    if found and base is None:
        sentences.append("Nothing fits on the machine as it is, so that an upgrade has no gain to tell.")
    sentences += [_worth(upgrade) for upgrade in found if upgrade.gain_fraction is not None]
    return sentences


def _effect(row: Sensitivity) -> str:
    return f"{row.name} {row.throughput_elasticity:+.2f}%"


def _worth(upgrade: Upgrade) -> str:
    gain, worth = upgrade.gain_fraction, upgrade.usd_per_device_hour
    assert gain is not None
    if abs(gain) < 5e-4:
        return f"Worth nothing to this job: {upgrade.name}."
    money = "" if worth is None else f"; it pays while it adds less than ${worth:,.2f} to a device-hour"
    return f"{upgrade.name[0].upper()}{upgrade.name[1:]}: {gain:+.1%} tokens/s{money}."


def study_record(study: SensitivityStudy, base: Option | None, found: Sequence[Upgrade]) -> dict[str, object]:
    """The study for JSON, in SI units."""
    return {
        "layout": study.layout.model_dump(mode="json"),
        "tokens_per_s": study.estimate.tokens_per_s,
        "usd_per_billion_tokens": study.estimate.usd_per_billion_tokens,
        "swing_fraction": study.swing_fraction,
        "figures": [asdict(row) for row in study.rows],
        "base": None if base is None else base.model_dump(mode="json"),
        "upgrades": [
            {field.name: _plain(getattr(upgrade, field.name)) for field in fields(Upgrade)} for upgrade in found
        ],
    }


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, Option) else value
