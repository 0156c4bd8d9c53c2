import pytest
import torch

from glmplan.train import generation
from glmplan.train.decoder_model import Decoder
from glmplan.train.generation import generate, generate_batch
from glmplan.train.initialisation import materialise
from glmplan.train.sampling import Sampling
from tests.train.jobs import CPU, SEQ_LEN, tiny_architecture


@pytest.fixture(scope="module")
def model() -> Decoder:
    with torch.device("meta"):
        decoder = Decoder(tiny_architecture(), num_positions=SEQ_LEN)
    materialise(decoder, CPU, seed=0)
    return decoder.eval()


def test_greedy_generation_takes_the_likeliest_token_of_the_whole_text(model: Decoder) -> None:
    tokens = [5, 17, 3]
    for token in generate(model, list(tokens), 8, Sampling(temperature=0)):
        assert token == int(model(torch.tensor([tokens]))[0, -1].argmax())
        tokens.append(token)
    assert len(tokens) == 11


def test_the_seed_decides(model: Decoder) -> None:
    def text(seed: int) -> list[int]:
        return list(generate(model, [1, 2], 12, Sampling(temperature=1.0, seed=seed)))

    assert text(7) == text(7)
    assert len({tuple(text(seed)) for seed in range(5)}) == 5


def test_generation_goes_on_past_the_last_position_and_with_long_prompts(model: Decoder) -> None:
    tokens = list(generate(model, list(range(40)), 3 * SEQ_LEN, Sampling(temperature=1.0)))
    assert len(tokens) == 3 * SEQ_LEN
    assert all(0 <= token < 96 for token in tokens)


def test_a_batch_makes_of_each_prompt_what_it_becomes_alone(model: Decoder) -> None:
    prompts = [[5, 17, 3], list(range(SEQ_LEN - 1)), [9]]
    sampling = Sampling(temperature=1.0, seed=3)
    together: list[list[int]] = [[], [], []]
    for tokens in generate_batch(model, prompts, 2 * SEQ_LEN, sampling):
        for index, token in tokens.items():
            together[index].append(token)
    for index, prompt in enumerate(prompts):
        alone = list(generate(model, prompt, 2 * SEQ_LEN, Sampling(temperature=1.0, seed=3 + index)))
        assert together[index] == alone


def test_a_text_stops_at_its_end_and_the_others_go_on(model: Decoder) -> None:
    prompts = [list(range(SEQ_LEN - 2)), [5, 17, 3], [1, 2]]
    alone = [list(generate(model, prompt, 20, Sampling(temperature=0))) for prompt in prompts]
    end = alone[0][3]
    expected = [tokens[: tokens.index(end) + 1] if end in tokens else tokens for tokens in alone]
    assert len({len(tokens) for tokens in expected}) > 1
    made: list[list[int]] = [[], [], []]
    for tokens in generate_batch(model, prompts, 20, Sampling(temperature=0), end):
        for index, token in tokens.items():
            made[index].append(token)
    assert made == expected


def test_a_prompt_longer_than_a_prefill_piece_is_read_whole(model: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(generate(model, list(range(12)), 4, Sampling(temperature=0)))
    monkeypatch.setattr(generation, "PREFILL_TOKENS", 5)
    assert list(generate(model, list(range(12)), 4, Sampling(temperature=0))) == whole
