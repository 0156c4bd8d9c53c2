"""Saves and loads a replica's model and optimizer with torch.distributed.checkpoint, across layouts and world sizes."""

import shutil
import warnings
from pathlib import Path
from typing import Any

from torch import distributed, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from glmplan.errors import InputError
from glmplan.train.checkpoint_folder import (
    CheckpointRecord,
    check_same_model,
    publish,
    step_folder,
    unfinished_folder,
)
from glmplan.train.training_step import Replica

BY_NAME = StateDictOptions(flatten_optimizer_state_dict=True)
"""The optimizer's state under its parameters' names alone: each stage of a pipeline has other parameters in a group."""


def save_checkpoint(replica: Replica, run_dir: Path, step: int) -> None:
    """Writes the state after ``step``. Collective; returns when the checkpoint is complete and named the latest.

    Raises InputError when it cannot be written; an earlier checkpoint stays as it was.
    """
    folder = unfinished_folder(run_dir, step)
    first = distributed.get_rank() == 0
    if first:
        shutil.rmtree(folder, ignore_errors=True)
    distributed.barrier()
    state = _state(replica)
    reason = ""
    try:
        save(state, checkpoint_id=folder)
        if first:
            arch = replica.job.architecture
            publish(run_dir, CheckpointRecord(step=step, architecture=arch, layout=replica.layout))
    except (OSError, CheckpointException, InputError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        reason = str(error).strip().splitlines()[-1]
    reasons: list[str] = [""] * distributed.get_world_size()
    distributed.all_gather_object(reasons, reason)
    if any(reasons):
        raise InputError(f"{folder}: the checkpoint cannot be written: {next(filter(None, reasons))}")


def load_checkpoint(replica: Replica, run_dir: Path, step: int) -> None:
    """Brings the replica to the state after ``step``, whatever layout wrote it. Collective.

    Raises InputError when the checkpoint is of another model or cannot be read.
    """
    check_same_model(run_dir, step, replica.job.architecture)
    state = _state(replica)
    _read(state, step_folder(run_dir, step))
    set_state_dict(
        replica.model,
        replica.optimizer,
        model_state_dict=state["model"],
        optim_state_dict=state["optimizer"],
        options=BY_NAME,
    )


def load_weights(model: nn.Module, run_dir: Path, step: int) -> None:
    """Fills a single-process model with the weights after ``step``. Raises InputError when they cannot be read."""
    state: dict[str, Any] = {"model": get_model_state_dict(model)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # as intended
        _read(state, step_folder(run_dir, step))
    set_model_state_dict(model, state["model"])


def _state(replica: Replica) -> dict[str, Any]:
    model_state, optimizer_state = get_state_dict(replica.model, replica.optimizer, options=BY_NAME)
    return {"model": model_state, "optimizer": optimizer_state}


def _read(state: dict[str, Any], folder: Path) -> None:
    try:
        load(state, checkpoint_id=folder)
    except (OSError, CheckpointException) as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"{folder}: the checkpoint cannot be read: {reason}") from None
