"""Writes a run's weights as a folder that ``transformers`` loads: safetensors, configuration, tokenizer."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from glmplan.documents import Json, json_text, write_bytes, write_text
from glmplan.errors import InputError
from glmplan.train.decoder_model import Decoder
from glmplan.train.huggingface_form import (
    CONFIG_FILE,
    INDEX_FILE,
    WEIGHTS_FILE,
    huggingface_name,
    write_configuration,
)
from glmplan.train.tokenizer import PAD, TOKENIZER_FILE, end_of_text_id, read_tokenizer
from glmplan.train.trained_model import load_run_model

MAX_FILE_BYTES = 5 * 10**9
"""Hugging Face's own limit when it splits weights over files."""
Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written."""

    step: int
    model_type: str
    parameters: int
    files: tuple[str, ...]


def export_run(run_dir: Path, out_dir: Path, *, precision: Precision = "fp32") -> Exported:
    """Writes the latest checkpoint of ``run_dir`` to ``out_dir``, which appears only when it is complete.

    Raises InputError when there is no checkpoint, when ``transformers`` has no such model, or ``out_dir`` is not empty.
    """
    _check_new(out_dir)
    model, step = load_run_model(run_dir)
    tokenizer = run_dir / TOKENIZER_FILE
    model_type = export_model(model, tokenizer if tokenizer.is_file() else None, out_dir, precision=precision)
    return Exported(
        step=step,
        model_type=model_type,
        parameters=sum(value.numel() for value in model.parameters()),
        files=tuple(sorted(path.name for path in out_dir.iterdir())),
    )


def export_model(
    model: Decoder,
    tokenizer: Path | None,
    out_dir: Path,
    *,
    precision: Precision = "fp32",
    max_file_bytes: int = MAX_FILE_BYTES,
) -> str:
    """Writes ``model``, with the tokenizer in a ``tokenizer.json``, to ``out_dir``. Returns the model type it became.

    Raises InputError as ``export_run`` does.
    """
    _check_new(out_dir)
    described, end = ({}, None) if tokenizer is None else _tokenizer_documents(tokenizer, model.num_positions)
    dtype = _DTYPES[precision]
    configuration = write_configuration(
        model.arch, num_positions=model.num_positions, dtype=str(dtype).removeprefix("torch."), end_of_text=end
    )
    documents = {CONFIG_FILE: configuration, **described}
    if end is not None:
        documents["generation_config.json"] = {"bos_token_id": end, "eos_token_id": end}
    unfinished = out_dir.with_name(f"{out_dir.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for name, document in documents.items():
            write_text(unfinished / name, json_text(document))
        if tokenizer is not None:
            write_bytes(unfinished / TOKENIZER_FILE, tokenizer.read_bytes())
        _write_weights(model, unfinished, dtype, max_file_bytes)
        if out_dir.exists():
            out_dir.rmdir()
        unfinished.rename(out_dir)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{out_dir}: cannot be written: {str(error).splitlines()[0].lower()}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return str(configuration["model_type"])


def _check_new(out_dir: Path) -> None:
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise InputError(f"{out_dir}: is not an empty folder; give a new one")


def _write_weights(model: Decoder, folder: Path, dtype: torch.dtype, max_file_bytes: int) -> None:
    groups = list(_groups(model, dtype, max_file_bytes))
    if len(groups) == 1:
        save_file(_tensors(model, groups[0], dtype), folder / WEIGHTS_FILE, {"format": "pt"})
        return
    places: dict[str, str] = {}
    for number, names in enumerate(groups, start=1):
        file = f"model-{number:05}-of-{len(groups):05}.safetensors"
        tensors = _tensors(model, names, dtype)
        save_file(tensors, folder / file, {"format": "pt"})
        places |= dict.fromkeys(tensors, file)
    total = sum(value.numel() * dtype.itemsize for value in model.parameters())
    write_text(folder / INDEX_FILE, json_text({"metadata": {"total_size": total}, "weight_map": places}))


def _groups(model: Decoder, dtype: torch.dtype, max_file_bytes: int) -> Iterator[list[str]]:
    """Names of parameters, in order, file by file."""
    names: list[str] = []
    held = 0
    for name, value in model.named_parameters():
        size = value.numel() * dtype.itemsize
        if names and held + size > max_file_bytes:
            yield names
            names, held = [], 0
        names.append(name)
        held += size
    yield names


def _tensors(model: Decoder, names: list[str], dtype: torch.dtype) -> dict[str, Tensor]:
    return {huggingface_name(name): model.get_parameter(name).detach().to("cpu", dtype).contiguous() for name in names}


def _tokenizer_documents(path: Path, num_positions: int) -> tuple[dict[str, Json], int | None]:
    """What ``transformers`` wants to know of a tokenizer beside its file, and the token that ends a text."""
    tokenizer = read_tokenizer(path)
    end = end_of_text_id(tokenizer)
    special: Json = {}
    if end is not None:
        special = dict.fromkeys(("bos_token", "eos_token"), tokenizer.id_to_token(end))
    if tokenizer.token_to_id(PAD) is not None:
        special["pad_token"] = PAD
    settings: Json = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": num_positions,
        "clean_up_tokenization_spaces": False,
        **special,
    }
    return {"tokenizer_config.json": settings, "special_tokens_map.json": special}, end
