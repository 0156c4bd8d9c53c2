"""Keys and values of the tokens a decoder has seen: each new token then costs one pass over itself (generation only).

Texts of a batch end at the same place: shorter ones have padding before them, which attention leaves out.
Shape suffixes: B texts, K key/value heads, L new tokens, P tokens seen, H head width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True)
class LayerCache:
    """What one attention layer has seen; storage for ``room`` tokens is taken at the first call."""

    room: int
    padding_B: Tensor | None
    length: int = 0
    keys_BKPH: Tensor | None = None
    values_BKPH: Tensor | None = None

    def extend(self, k_BKLH: Tensor, v_BKLH: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, the new ones last."""
        batch, heads, added, width = k_BKLH.shape
        if self.keys_BKPH is None or self.values_BKPH is None:
            self.keys_BKPH = k_BKLH.new_empty(batch, heads, self.room, width)
            self.values_BKPH = v_BKLH.new_empty(batch, heads, self.room, width)
        end = self.length + added
        self.keys_BKPH[:, :, self.length : end] = k_BKLH
        self.values_BKPH[:, :, self.length : end] = v_BKLH
        self.length = end
        return self.keys_BKPH[:, :, :end], self.values_BKPH[:, :, :end]


class KeyValueCache:
    """The caches of all layers of one decoder."""

    def __init__(self, num_layers: int, *, room: int, padding: list[int], device: torch.device) -> None:
        """Of texts with ``padding`` tokens before each; ``room`` tokens at most, padding included."""
        self.device = device
        padding_B = torch.tensor(padding, device=device) if any(padding) else None
        self.layers = [LayerCache(room, padding_B) for _ in range(num_layers)]

    @property
    def full(self) -> bool:
        """Whether there is no room for another token."""
        return self.layers[0].length >= self.layers[0].room

    def next_positions(self, num_tokens: int) -> Tensor:
        """Positions of the next tokens of every text, [B or 1, L]; padding stands at position 0."""
        first = self.layers[0]
        positions_1L = torch.arange(first.length, first.length + num_tokens, device=self.device)[None]
        return positions_1L if first.padding_B is None else (positions_1L - first.padding_B[:, None]).clamp_min(0)

    def keep(self, texts: list[int]) -> None:
        """Forgets all texts but these, by their place in the batch."""
        for layer in self.layers:
            if layer.padding_B is not None:
                layer.padding_B = layer.padding_B[texts]
            if layer.keys_BKPH is not None and layer.values_BKPH is not None:
                layer.keys_BKPH, layer.values_BKPH = layer.keys_BKPH[texts], layer.values_BKPH[texts]
