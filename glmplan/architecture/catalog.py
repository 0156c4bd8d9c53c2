"""Finds architectures by preset name or path, and lists the presets."""

import difflib
from pathlib import Path

from glmplan.architecture.huggingface import from_huggingface
from glmplan.architecture.transformer import Architecture
from glmplan.documents import check, read_json, read_yaml, sha256
from glmplan.errors import InputError

_PRESETS = Path(__file__).parent / "presets"


def list_architectures() -> list[str]:
    """The names of all presets, sorted."""
    return sorted(path.stem for path in _PRESETS.glob("*.yaml"))


def load_architecture(name_or_path: str) -> Architecture:
    """The architecture of a preset name, a YAML file, a Hugging Face ``config.json``, or a folder that holds one.

    Raises InputError when there is none, DocumentError when the file has faults.
    """
    path = _locate(name_or_path)
    if path.suffix.lower() == ".json":
        return from_huggingface(read_json(path), name=path.resolve().parent.name)
    return check(Architecture, read_yaml(path))


def architecture_sha256(name_or_path: str) -> str:
    """The SHA-256 of the file that ``load_architecture`` reads, for provenance. Raises InputError."""
    return sha256(_locate(name_or_path))


def _locate(name_or_path: str) -> Path:
    names = list_architectures()
    if name_or_path.lower() in names:
        return _PRESETS / f"{name_or_path.lower()}.yaml"
    if not name_or_path:
        raise InputError("model: empty; give a preset name (see `glmplan models list`) or a path")
    try:
        path = Path(name_or_path).expanduser()
        if path.is_dir():
            config = path / "config.json"
            if config.is_file():
                return config
            raise InputError(f"model: folder {name_or_path} holds no config.json; give a folder that does, or a file")
        if path.is_file():
            if path.suffix.lower() in (".yaml", ".yml", ".json"):
                return path
            raise InputError(f"model: {name_or_path} must end in .yaml, .yml or .json")
    except (OSError, ValueError, RuntimeError):
        pass  # no legal path, so it can only be a mistyped name
    near = difflib.get_close_matches(name_or_path.lower(), names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "see `glmplan models list`, or give a path"
    raise InputError(f"model: no preset or file {name_or_path!r}; {hint}")
