"""What a run leaves step by step: ``metrics.jsonl``, ``validation.jsonl``, TensorBoard events. Rank 0 writes it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glmplan.documents import write_text
from glmplan.train.evaluation import Evaluation
from glmplan.train.run_record import METRICS_FILE

VALIDATION_FILE = "validation.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One line of ``metrics.jsonl``."""

    step: int
    loss: float
    """Mean over the global batch, in nats, before the update."""
    step_time_s: float
    """The whole step with its data, without validation and checkpoints."""
    tokens_per_s: float
    """Over all ranks."""
    grad_norm: float
    """Of all parameters together, before clipping."""
    learning_rate: float
    peak_memory_bytes: int | None
    """Tensor bytes of rank 0 so far; None where the device keeps no count."""


class StepLog:
    """Appends whole lines, so that a stop at any moment leaves readable files."""

    def __init__(self, run_dir: Path, resumed_from: int, *, board: bool = True) -> None:
        self._metrics, self._validation = run_dir / METRICS_FILE, run_dir / VALIDATION_FILE
        for path in (self._metrics, self._validation):
            keep_lines_until(path, resumed_from)
        self._board = _open_board(run_dir / "tensorboard", resumed_from) if board else None

    def step(self, record: StepRecord) -> None:
        """Adds a step."""
        values = asdict(record)
        _append(self._metrics, values)
        self._plot("train", values, record.step)

    def validation(self, step: int, result: Evaluation) -> None:
        """Adds a validation."""
        values = {"step": step, "loss": result.loss, "perplexity": result.perplexity, "accuracy": result.accuracy}
        _append(self._validation, values | {"tokens": result.tokens})
        self._plot("validation", values, step)

    def close(self) -> None:
        """Flushes the events."""
        if self._board is not None:
            self._board.close()

    def _plot(self, group: str, values: dict[str, Any], step: int) -> None:
        if self._board is not None:
            for name, value in values.items():
                if name != "step" and value is not None:
                    self._board.add_scalar(f"{group}/{name}", value, step)


def keep_lines_until(path: Path, last_step: int) -> None:
    """Drops lines of later steps, which a resumed run will write again, and a line cut short by a stop."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            step = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError):
            continue
        if step <= last_step:
            kept.append(line + "\n")
    write_text(path, "".join(kept))


def _append(path: Path, values: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(values, allow_nan=False) + "\n")


def _open_board(folder: Path, resumed_from: int) -> Any:
    """TensorBoard's writer, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=resumed_from + 1)
