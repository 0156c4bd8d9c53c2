"""An architecture's counts as rows and as one document, for the command line and reports."""

from dataclasses import asdict

from glmplan.architecture.model_flops import FORMULA, model_flops_per_token
from glmplan.architecture.parameters import parameter_counts
from glmplan.architecture.transformer import Architecture
from glmplan.documents import Json
from glmplan.errors import InputError

SCHEMA_VERSION = 1
_USUAL_SEQ_LEN = 4096


def usual_seq_len(arch: Architecture) -> int:
    """A sequence length to show FLOPs at where none is asked for: 4096 tokens, or all learned positions if fewer."""
    return min(_USUAL_SEQ_LEN, arch.learned_positions or _USUAL_SEQ_LEN)


def parameter_rows(arch: Architecture) -> list[tuple[str, int, float]]:
    """Kind, parameters and fraction of the total of every kind that ``arch`` has, then of the total and the active."""
    counts = parameter_counts(arch)
    parts = asdict(counts)
    parts.pop("routed_experts_active")
    rows = [(kind.replace("_", " "), count) for kind, count in parts.items() if count]
    rows += [("total", counts.total), ("active per token", counts.active)]
    return [(kind, count, count / counts.total) for kind, count in rows]


def flops_rows(arch: Architecture, seq_len: int) -> list[tuple[str, float, float]]:
    """Part, model FLOPs per token (forward and backward) and fraction of the total, then the total.

    Raises InputError when the sequence is longer than the learned positions.
    """
    if arch.learned_positions and seq_len > arch.learned_positions:
        rows = arch.learned_positions
        raise InputError(f"seq_len: {seq_len} exceeds the {rows} learned positions of {arch.name}; use at most {rows}")
    flops = model_flops_per_token(arch, seq_len)
    parts = [*asdict(flops).items(), ("total", flops.total)]
    return [(part, value, value / flops.total) for part, value in parts]


def architecture_document(arch: Architecture, seq_len: int, sha256: str) -> Json:
    """Everything known about ``arch`` as one JSON document. Raises InputError as ``flops_rows`` does."""
    counts = parameter_counts(arch)
    parts = asdict(counts)
    active_experts = parts.pop("routed_experts_active")
    return {
        "schema_version": SCHEMA_VERSION,
        "name": arch.name,
        "source": arch.source,
        "sha256": sha256,
        "architecture": arch.model_dump(mode="json", exclude={"name", "source"}),
        "parameters": {
            **parts,
            "total": counts.total,
            "active": counts.active,
            "routed_experts_active": active_experts,
        },
        "flops_per_token": {
            "seq_len": seq_len,
            **{part: value for part, value, _ in flops_rows(arch, seq_len)},
            "formula": FORMULA,
            "causal_half": False,
        },
    }
