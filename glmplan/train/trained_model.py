"""A trained model with its tokenizer, read from a run or from a Hugging Face folder: text in, text out."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer

from glmplan.architecture.transformer import Architecture
from glmplan.errors import InputError
from glmplan.train.checkpoint import load_weights
from glmplan.train.checkpoint_folder import latest_step
from glmplan.train.decoder_model import Decoder
from glmplan.train.devices import select_device
from glmplan.train.generation import generate_batch
from glmplan.train.huggingface_form import CONFIG_FILE, read_configuration
from glmplan.train.huggingface_import import check_weights, fill_model
from glmplan.train.initialisation import materialise
from glmplan.train.run_record import RUN_FILE, read_run
from glmplan.train.sampling import Sampling, check_sampling
from glmplan.train.tokenizer import end_of_text_id, load_tokenizer

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """What a model made of a prompt."""

    prompt: str
    text: str
    """Without the prompt."""
    num_tokens: int
    ended_by: Literal["end of text", "max tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long a batch took; the first token of each text counts as prefill."""

    prompt_tokens: int
    prefill_s: float
    new_tokens: int
    """After the first of each text."""
    decode_s: float

    @property
    def tokens_per_s(self) -> float:
        """New tokens of all texts together; 0 when there was none after the first."""
        return self.new_tokens / self.decode_s if self.new_tokens else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """Weights with their tokenizer."""

    model: Decoder
    tokenizer: Tokenizer

    def continuations(
        self, prompts: Sequence[str], max_tokens: int, sampling: Sampling
    ) -> tuple[list[Continuation], Pace]:
        """What follows each of ``prompts``, up to ``max_tokens`` tokens or the end of a document, and the time it took.

        Raises InputError when a prompt or a setting cannot be used.
        """
        check_sampling(sampling, max_tokens)
        end = end_of_text_id(self.tokenizer)
        encoded = [self._encoded(prompt) for prompt in prompts]
        made: list[list[int]] = [[] for _ in prompts]
        begun = first = time.perf_counter()
        for step, tokens in enumerate(generate_batch(self.model, encoded, max_tokens, sampling, end)):
            for index, token in tokens.items():
                made[index].append(token)
            first = time.perf_counter() if step == 0 else first
        pace = Pace(
            prompt_tokens=sum(map(len, encoded)),
            prefill_s=first - begun,
            new_tokens=sum(map(len, made)) - len(made),
            decode_s=time.perf_counter() - first,
        )
        return [self._continuation(prompt, ids, end) for prompt, ids in zip(prompts, made, strict=True)], pace

    def stream(self, prompt: str, max_tokens: int, sampling: Sampling) -> Iterator[str]:
        """What follows ``prompt``, in pieces as they come; a character made of several tokens comes whole."""
        check_sampling(sampling, max_tokens)
        end = end_of_text_id(self.tokenizer)
        ids: list[int] = []
        told = ""
        for tokens in generate_batch(self.model, [self._encoded(prompt)], max_tokens, sampling, end):
            ids += [token for token in tokens.values() if token != end]
            text = str(self.tokenizer.decode(ids))
            if not text.endswith(_UNFINISHED):
                yield text[len(told) :]
                told = text
        yield str(self.tokenizer.decode(ids))[len(told) :]

    def _encoded(self, prompt: str) -> list[int]:
        end = end_of_text_id(self.tokenizer)
        ids: list[int] = self.tokenizer.encode(prompt, add_special_tokens=False).ids
        if not ids and end is None:
            raise InputError("prompt: is empty; give some text")
        vocab = self.model.arch.vocab
        if ids and max(ids) >= vocab:
            raise InputError(
                f"prompt: token {max(ids)} is outside the model's vocabulary of {vocab}; the tokenizer is "
                "not the one it was trained with"
            )
        return ids or [end]  # type: ignore[list-item]

    def _continuation(self, prompt: str, ids: list[int], end: int | None) -> Continuation:
        ended = bool(ids) and ids[-1] == end
        text = str(self.tokenizer.decode(ids[:-1] if ended else ids))
        return Continuation(
            prompt=prompt, text=text, num_tokens=len(ids), ended_by="end of text" if ended else "max tokens"
        )


def load_trained(directory: Path) -> TrainedModel:
    """The model of a run's latest checkpoint, or of a Hugging Face folder.

    Raises InputError when ``directory`` is neither, has no weights yet, or no tokenizer.
    """
    if (directory / CONFIG_FILE).is_file() and not (directory / RUN_FILE).exists():
        configuration = read_configuration(directory)
        model = _empty(configuration.architecture, configuration.num_positions, select_device("accelerator", 0))
        check_weights(directory, configuration.architecture)
        fill_model(model, directory)
        return TrainedModel(model=model.eval(), tokenizer=load_tokenizer(directory))
    model, _ = load_run_model(directory)
    return TrainedModel(model=model, tokenizer=load_tokenizer(directory))


def load_run_model(run_dir: Path) -> tuple[Decoder, int]:
    """The weights of a run's latest checkpoint, and its step. Raises InputError when there is none."""
    run = read_run(run_dir)
    step = latest_step(run_dir)
    if step is None:
        raise InputError(f"{run_dir}: no checkpoint yet; train it to the end, or with --checkpoint-every")
    model = _empty(run.job.architecture, run.job.seq_len, select_device(run.plan.cluster.device_kind, 0))
    load_weights(model, run_dir, step)
    return model.eval(), step


def _empty(arch: Architecture, num_positions: int, device: torch.device) -> Decoder:
    with torch.device("meta"):
        model = Decoder(arch, num_positions=num_positions)
    materialise(model, device, seed=0)
    return model
