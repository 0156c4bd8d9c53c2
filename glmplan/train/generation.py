"""The tokens that follow those given, for a batch of texts in one process: prefill, then one token a pass.

Shape suffixes: B texts, L tokens, V vocabulary.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from glmplan.train.decoder_model import Decoder
from glmplan.train.key_value_cache import KeyValueCache
from glmplan.train.sampling import Sampling, choose

PREFILL_TOKENS = 512
"""Of each text at a time: bounds the memory of logits that nobody reads."""


def generate(model: Decoder, prompt: list[int], max_tokens: int, sampling: Sampling) -> Iterator[int]:
    """Tokens that follow ``prompt``, one by one."""
    for tokens in generate_batch(model, [prompt], max_tokens, sampling):
        yield tokens[0]


@torch.inference_mode()
def generate_batch(
    model: Decoder, prompts: Sequence[list[int]], max_tokens: int, sampling: Sampling, end: int | None = None
) -> Iterator[dict[int, int]]:
    """The next token of every prompt, by its place in ``prompts``, again and again; ``end`` is a text's last one.

    When the model's positions are used up, a text goes on from the last half of them, as if it began there.
    What a text becomes does not depend on those beside it (but for rounding).
    """
    dice = [sampling.dice(index) for index in range(len(prompts))]
    texts = {index: prompt[-model.num_positions :] for index, prompt in enumerate(prompts)}
    logits_BV, cache = _prefill(model, list(texts.values()), max_tokens)
    for left in range(max_tokens - 1, -1, -1):
        rows = zip(texts, logits_BV.float().cpu(), strict=True)
        tokens = {index: choose(logits_V, sampling, dice[index]) for index, logits_V in rows}
        yield tokens
        going = [place for place, token in enumerate(tokens.values()) if token != end]
        if not going or not left:
            return
        if len(going) < len(texts):
            kept = [list(texts)[place] for place in going]
            texts = {index: texts[index] for index in kept}
            cache.keep(going)
        texts = {index: [*text, tokens[index]] for index, text in texts.items()}
        if cache.full:
            texts = {index: _shortened(text, model.num_positions) for index, text in texts.items()}
            logits_BV, cache = _prefill(model, list(texts.values()), left)
        else:
            last_B1 = torch.tensor([[text[-1]] for text in texts.values()], device=cache.device)
            logits_BV = model(last_B1, cache)[:, -1]


def _shortened(text: list[int], num_positions: int) -> list[int]:
    return text if len(text) <= num_positions else text[-max(1, num_positions // 2) :]


def _prefill(model: Decoder, texts: list[list[int]], max_tokens: int) -> tuple[Tensor, KeyValueCache]:
    """The logits after each text, and a cache with room for what may follow."""
    device = next(model.parameters()).device
    length = max(map(len, texts))
    padding = [length - len(text) for text in texts]
    room = min(model.num_positions, length + max_tokens)
    cache = KeyValueCache(len(model.layers), room=room, padding=padding, device=device)
    # Any token will do as padding: no other attends to it.
    tokens_BL = torch.tensor([[0] * before + text for before, text in zip(padding, texts, strict=True)], device=device)
    logits_BLV = [model(part_BL, cache)[:, -1:] for part_BL in torch.split(tokens_BL, PREFILL_TOKENS, dim=1)]
    return logits_BLV[-1][:, -1], cache
