"""How the next token is chosen from a model's logits (shape suffix V: the vocabulary)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from glmplan.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen."""

    temperature: float = 0.8
    """0 takes the likeliest token; 1 samples from the model's own distribution."""
    top_k: int = 0
    """Only the k likeliest tokens; 0 for all."""
    top_p: float = 1.0
    """Only the likeliest tokens that together reach this probability (Holtzman 2020, arXiv:1904.09751)."""
    seed: int = 0
    """Of the first text; each further text of a batch has the next number."""

    def dice(self, text: int) -> torch.Generator:
        """The random numbers of a text, by its place in the batch: the same whatever stands beside it."""
        return torch.Generator().manual_seed(self.seed + text)


def check_sampling(sampling: Sampling, max_tokens: int) -> None:
    """Raises InputError for a setting outside its range."""
    rules = {
        f"max tokens: must be 1 or more; got {max_tokens}": max_tokens >= 1,
        f"temperature: must be 0 or more; got {sampling.temperature}": 0 <= sampling.temperature < float("inf"),
        f"top k: must be 0 (all) or more; got {sampling.top_k}": sampling.top_k >= 0,
        f"top p: must be above 0 and at most 1; got {sampling.top_p}": 0 < sampling.top_p <= 1,
        f"seed: must be from 0 to {2**31 - 1}; got {sampling.seed}": 0 <= sampling.seed < 2**31,
    }
    broken = [message for message, kept in rules.items() if not kept]
    if broken:
        raise InputError("\n".join(broken))


def choose(logits_V: Tensor, sampling: Sampling, dice: torch.Generator) -> int:
    """One token, by the model's logits and the sampling settings."""
    if sampling.temperature == 0:
        return int(logits_V.argmax())
    ordered_V, tokens_V = torch.sort(logits_V.double(), descending=True, stable=True)
    # Shifted before it is divided: the likeliest stays at 0 however small the temperature.
    probabilities_V = ((ordered_V - ordered_V[0]) / sampling.temperature).softmax(0)
    if sampling.top_k:
        probabilities_V[sampling.top_k :] = 0
    # A token stays when those likelier than it do not reach top_p yet; the likeliest always stays.
    before_V = probabilities_V.cumsum(0) - probabilities_V
    probabilities_V[1:][before_V[1:] >= sampling.top_p * probabilities_V.sum()] = 0
    return int(tokens_V[torch.multinomial(probabilities_V, 1, generator=dice)])
