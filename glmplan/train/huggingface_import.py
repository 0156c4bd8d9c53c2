"""Fills a decoder with the weights of a Hugging Face folder. Reads safetensors only: nothing in them can execute."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from glmplan.architecture.transformer import Architecture
from glmplan.errors import InputError
from glmplan.train.decoder_model import Decoder
from glmplan.train.huggingface_form import huggingface_name, weight_files
from glmplan.train.initialisation import local_part

_DTYPES = ("F32", "F16", "BF16", "F64")
_SHOWN = 3


class Weights:
    """The tensors of a folder's files, by name; read piece by piece as they are asked for."""

    def __init__(self, tensors: dict[str, Any], folder: Path) -> None:
        self._tensors = tensors
        self.folder = folder

    def names(self) -> set[str]:
        """What is there, but for buffers that old files hold."""
        return {name for name in self._tensors if not name.endswith("rotary_emb.inv_freq")}

    def shape(self, name: str) -> tuple[int, ...]:
        """Of the whole tensor."""
        return tuple(self._slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """As the file calls it."""
        return str(self._slice(name).get_dtype())

    def read(self, name: str, part: tuple[slice, ...]) -> Tensor:
        """A part of a tensor."""
        value = self._slice(name)[part]
        assert isinstance(value, Tensor)
        return value

    def _slice(self, name: str) -> Any:
        return self._tensors[name].get_slice(name)


@contextmanager
def open_weights(folder: Path) -> Iterator[Weights]:
    """The weights in ``folder``. Raises InputError when a file cannot be read."""
    tensors: dict[str, Any] = {}
    with ExitStack() as stack:
        for path in weight_files(folder):
            try:
                file: Any = stack.enter_context(safe_open(path, framework="pt"))
                tensors |= dict.fromkeys(file.keys(), file)
            except (OSError, SafetensorError) as error:
                reason = str(error).splitlines()[0]
                raise InputError(f"{path}: not a whole safetensors file: {reason}") from None
        yield Weights(tensors, folder)


def check_weights(folder: Path, arch: Architecture) -> int:
    """The number of values in ``folder``. Raises InputError when its tensors are not those of ``arch``."""
    with torch.device("meta"):
        model = Decoder(arch, num_positions=1)
    expected = {huggingface_name(name): tuple(value.shape) for name, value in model.named_parameters()}
    with open_weights(folder) as weights:
        present = weights.names() - ({"lm_head.weight"} if arch.tied_embeddings else set())
        for sort, names in {"misses": expected.keys() - present, "has no place for": present - expected.keys()}.items():
            if names:
                more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
                whom = folder if sort == "misses" else f"{folder}: the model"
                raise InputError(f"{whom} {sort} {', '.join(sorted(names)[:_SHOWN])}{more}; it must fit config.json")
        for name, shape in expected.items():
            if weights.shape(name) != shape:
                raise InputError(f"{folder}: {name}: must have shape {list(shape)}; got {list(weights.shape(name))}")
            if weights.dtype(name) not in _DTYPES:
                raise InputError(f"{folder}: {name}: must be {', '.join(_DTYPES)}; got {weights.dtype(name)}")
    return sum(value.numel() for value in model.parameters())


def fill_model(model: nn.Module, folder: Path) -> None:
    """Gives a decoder, or this rank's part of one, the weights in ``folder``; each rank reads its own part only.

    Raises InputError when they do not fit (see ``check_weights``).
    """
    with open_weights(folder) as weights, torch.no_grad():
        for name, parameter in model.named_parameters():
            local, part = local_part(parameter)
            if local.numel():
                local.copy_(weights.read(huggingface_name(name), part))
