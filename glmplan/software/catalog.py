"""Finds and loads stack presets."""

import difflib
from functools import cache
from pathlib import Path

from glmplan.documents import Document, check, parse_yaml, read_text, read_yaml
from glmplan.errors import DocumentError, Fault, InputError
from glmplan.software.stack import CONSTANT_MEANINGS, Stack

PRESETS = Path(__file__).parent / "presets"


def list_stacks() -> list[str]:
    """Names of all presets, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml") if path.stem != "priors")


@cache
def _priors() -> dict[str, dict[str, float]]:
    data = parse_yaml(read_text(PRESETS / "priors.yaml"), "priors.yaml").data
    priors: dict[str, dict[str, float]] = data["constants"]
    return priors


def stack_path(name: str) -> Path:
    """The file of a preset, or ``name`` itself when it is a path. Raises InputError with the nearest names."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    path = PRESETS / f"{name}.yaml"
    if name not in list_stacks():
        near = difflib.get_close_matches(name, list_stacks(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the presets are {', '.join(list_stacks())}"
        raise InputError(f"stack: no preset {name!r}; {hint}")
    return path


def load_stack(name: str) -> Stack:
    """The stack called ``name`` (preset or YAML path). Constants that it does not set keep the common prior.

    Raises InputError or DocumentError.
    """
    document = read_yaml(stack_path(name))
    data = dict(document.data)
    given = data.get("constants") or {}
    if isinstance(given, dict):
        if unknown := [key for key in given if key not in CONSTANT_MEANINGS]:
            raise DocumentError(document.name, [_unknown_constant(key, document) for key in unknown])
        data["constants"] = {
            key: {**prior, "meaning": CONSTANT_MEANINGS[key], **({"value": given[key]} if key in given else {})}
            for key, prior in _priors().items()
        }
    return check(Stack, Document(name=document.name, data=data, lines=document.lines))


def _unknown_constant(name: str, document: Document) -> Fault:
    near = difflib.get_close_matches(name, CONSTANT_MEANINGS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the constants are {', '.join(CONSTANT_MEANINGS)}"
    return Fault(field=f"constants.{name}", reason=f"unknown constant; {hint}", line=document.lines["constants", name])
