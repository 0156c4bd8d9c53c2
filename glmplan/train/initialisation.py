"""Initial weights that depend on the seed and the parameter's name only, so that every layout starts the same.

Each rank draws just its own part: random numbers come in blocks of rows, each block with its own generator.
"""

import hashlib
import math

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from glmplan.train.decoder_model import Decoder

STANDARD_DEVIATION = 0.02
"""GPT-2 (Radford 2019, section 2.3) and most decoders since."""
_ROWS_PER_BLOCK = 64


def materialise(model: Decoder, device: torch.device, seed: int) -> None:
    """Gives a model on the meta device storage on ``device`` and its initial values.

    Matrices are normal with 0.02; those that write to the residual stream are divided by sqrt(2 * layers)
    (GPT-2, section 2.3). Norm weights are 1, biases 0.
    """
    model.to_empty(device=device)
    model.tie_weights()
    model.fill_buffers()
    residual = STANDARD_DEVIATION / math.sqrt(2 * model.arch.layers)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                _local(parameter).fill_(1.0 if name.endswith("norm.weight") else 0.0)
                continue
            scale = residual if name.endswith(("attention.output.weight", "mlp.down.weight")) else STANDARD_DEVIATION
            _fill_normal(parameter, scale, f"{seed}/{name}")


def _local(parameter: Tensor) -> Tensor:
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def local_part(parameter: Tensor) -> tuple[Tensor, tuple[slice, ...]]:
    """What this rank holds of ``parameter``, and where that stands in the whole tensor."""
    shape, offset = tuple(parameter.shape), (0,) * parameter.dim()
    if isinstance(parameter, DTensor):
        shape, offset = compute_local_shape_and_global_offset(
            parameter.shape, parameter.device_mesh, parameter.placements
        )
    return _local(parameter), tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))


def _fill_normal(parameter: nn.Parameter, scale: float, key: str) -> None:
    """Fills this rank's part of ``parameter`` with the values that the whole tensor has there."""
    local, (rows, *columns) = local_part(parameter)
    if local.numel() == 0:
        return
    first, last = rows.start, rows.stop
    for block in range(first // _ROWS_PER_BLOCK, (last - 1) // _ROWS_PER_BLOCK + 1):
        begin = block * _ROWS_PER_BLOCK
        values = torch.empty(_ROWS_PER_BLOCK, *parameter.shape[1:]).normal_(
            0.0, scale, generator=_generator(key, block)
        )
        low, high = max(first, begin), min(last, begin + _ROWS_PER_BLOCK)
        local[low - first : high - first].copy_(values[low - begin : high - begin][:, *columns])


def _generator(key: str, block: int) -> torch.Generator:
    digest = hashlib.blake2b(f"{key}/{block}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
