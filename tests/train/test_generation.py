import pytest
import torch

from glmplan.errors import InputError
from glmplan.train.decoder_model import Decoder
from glmplan.train.generation import Sampling, check_sampling, choose, generate
from glmplan.train.initialisation import materialise
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


def frequencies(sampling: Sampling, probabilities: list[float], draws: int = 3000) -> list[float]:
    dice = torch.Generator().manual_seed(0)
    logits = torch.tensor(probabilities).log()
    counts = [0] * len(probabilities)
    for _ in range(draws):
        counts[choose(logits, sampling, dice)] += 1
    return [count / draws for count in counts]


def test_sampling_follows_the_models_distribution() -> None:
    assert frequencies(Sampling(temperature=1.0), [0.1, 0.6, 0.3]) == pytest.approx([0.1, 0.6, 0.3], abs=0.03)


def test_a_lower_temperature_sharpens() -> None:
    # p ** 2, normalised: 0.01, 0.36, 0.09 over 0.46
    expected = [0.01 / 0.46, 0.36 / 0.46, 0.09 / 0.46]
    assert frequencies(Sampling(temperature=0.5), [0.1, 0.6, 0.3]) == pytest.approx(expected, abs=0.03)


def test_top_k_keeps_the_likeliest() -> None:
    shares = frequencies(Sampling(temperature=1.0, top_k=2), [0.1, 0.6, 0.3])
    assert shares == pytest.approx([0.0, 2 / 3, 1 / 3], abs=0.03)


@pytest.mark.parametrize(("top_p", "kept"), [(0.5, {1}), (0.6001, {1, 2}), (0.95, {0, 1, 2}), (1e-9, {1})])
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p: float, kept: set[int]) -> None:
    shares = frequencies(Sampling(temperature=1.0, top_p=top_p), [0.1, 0.6, 0.3], draws=400)
    assert {token for token, share in enumerate(shares) if share} == kept


def test_all_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        check_sampling(Sampling(temperature=-1, top_k=-1, top_p=0), max_tokens=0)
    assert len(str(caught.value).splitlines()) == 4
