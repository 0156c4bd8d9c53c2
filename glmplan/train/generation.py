"""Continues a text with a trained model, in one process: sampling, and a cache of keys and values."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from glmplan.errors import InputError
from glmplan.train.checkpoint import load_weights
from glmplan.train.checkpoint_folder import latest_step
from glmplan.train.decoder_model import Decoder, KeyValueCache
from glmplan.train.devices import select_device
from glmplan.train.initialisation import materialise
from glmplan.train.run_record import read_run
from glmplan.train.tokenizer import end_of_text_id, load_tokenizer


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A run's latest weights with their tokenizer."""

    model: Decoder
    tokenizer: Tokenizer
    device: torch.device
    step: int

    def continuation(self, prompt: str, max_tokens: int, sampling: Sampling) -> str:
        """The text that follows ``prompt``, up to ``max_tokens`` tokens or the end of a document.

        Raises InputError when the prompt or a setting cannot be used.
        """
        check_sampling(sampling, max_tokens)
        end = end_of_text_id(self.tokenizer)
        ids = self.tokenizer.encode(prompt, add_special_tokens=False).ids or ([] if end is None else [end])
        if not ids:
            raise InputError("prompt: is empty; give some text")
        tokens = []
        for token in generate(self.model, ids, max_tokens, sampling):
            if token == end:
                break
            tokens.append(token)
        return str(self.tokenizer.decode(tokens))


def load_trained(run_dir: Path) -> TrainedModel:
    """The model of the latest checkpoint. Raises InputError when the run has none, or no tokenizer."""
    run = read_run(run_dir)
    step = latest_step(run_dir)
    if step is None:
        raise InputError(f"{run_dir}: no checkpoint yet; train it to the end, or with --checkpoint-every")
    tokenizer = load_tokenizer(run_dir)
    device = select_device(run.plan.cluster.device_kind, 0)
    with torch.device("meta"):
        model = Decoder(run.job.architecture, num_positions=run.job.seq_len)
    materialise(model, device, seed=0)
    load_weights(model, run_dir, step)
    return TrainedModel(model=model.eval(), tokenizer=tokenizer, device=device, step=step)


def check_sampling(sampling: Sampling, max_tokens: int) -> None:
    """Raises InputError for a setting outside its range."""
    rules = {
        f"max tokens: must be 1 or more; got {max_tokens}": max_tokens >= 1,
        f"temperature: must be 0 or more; got {sampling.temperature}": sampling.temperature >= 0,
        f"top k: must be 0 (all) or more; got {sampling.top_k}": sampling.top_k >= 0,
        f"top p: must be above 0 and at most 1; got {sampling.top_p}": 0 < sampling.top_p <= 1,
        f"seed: must be 0 or more; got {sampling.seed}": sampling.seed >= 0,
    }
    broken = [message for message, kept in rules.items() if not kept]
    if broken:
        raise InputError("\n".join(broken))


@torch.inference_mode()
def generate(model: Decoder, prompt: list[int], max_tokens: int, sampling: Sampling) -> Iterator[int]:
    """Tokens that follow ``prompt``, one by one.

    When the model's positions are used up, it goes on from the last half of them, as if the text began there.
    """
    device = next(model.parameters()).device
    dice = torch.Generator().manual_seed(sampling.seed)
    tokens = prompt[-model.num_positions :]
    caches, seen = _new_caches(model), 0
    for _ in range(max_tokens):
        if len(tokens) > model.num_positions:
            tokens = tokens[-max(1, model.num_positions // 2) :]
            caches, seen = _new_caches(model), 0
        inputs_1L = torch.tensor([tokens[seen:]], device=device)
        logits_V = model(inputs_1L, caches, start=seen)[0, -1].float().cpu()
        seen = len(tokens)
        token = choose(logits_V, sampling, dice)
        tokens.append(token)
        yield token


def choose(logits_V: Tensor, sampling: Sampling, dice: torch.Generator) -> int:
    """One token, by the model's logits and the sampling settings."""
    if sampling.temperature == 0:
        return int(logits_V.argmax())
    ordered_V, tokens_V = torch.sort(logits_V / sampling.temperature, descending=True, stable=True)
    probabilities_V = ordered_V.softmax(0)
    if sampling.top_k:
        probabilities_V[sampling.top_k :] = 0
    # A token stays when those likelier than it do not reach top_p yet; the likeliest always stays.
    before_V = probabilities_V.cumsum(0) - probabilities_V
    probabilities_V[before_V >= sampling.top_p * probabilities_V.sum()] = 0
    return int(tokens_V[torch.multinomial(probabilities_V, 1, generator=dice)])


def _new_caches(model: Decoder) -> list[KeyValueCache]:
    return [KeyValueCache() for _ in model.layers]
