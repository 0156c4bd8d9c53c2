"""How a run ended, as its processes tell the launcher through a small file. No torch here."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from glmplan.documents import write_text

OUTCOME_FILE = "outcome.json"


class Outcome(BaseModel):
    """Finished, interrupted, or failed with an expected error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exit_code: int = 0
    """Other than 0 when the run failed."""
    message: str = ""
    """What failed, or a remark."""
    last_step: int = 0
    """Last step that a checkpoint holds."""
    interrupted: bool = False


def write_outcome(control_dir: Path, outcome: Outcome) -> None:
    """Tells the launcher."""
    write_text(control_dir / OUTCOME_FILE, outcome.model_dump_json())


def read_outcome(control_dir: Path) -> Outcome | None:
    """What the processes told; None when they ended without a word."""
    try:
        return Outcome.model_validate_json((control_dir / OUTCOME_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
