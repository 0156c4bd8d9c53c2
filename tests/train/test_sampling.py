import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glmplan.errors import InputError
from glmplan.train.sampling import Sampling, check_sampling, choose


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


def test_a_tiny_temperature_takes_the_likeliest() -> None:
    assert frequencies(Sampling(temperature=1e-40), [0.1, 0.6, 0.3], draws=20) == [0.0, 1.0, 0.0]


@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=8),
    temperature=st.floats(0, 5),
    top_k=st.integers(0, 10),
    top_p=st.floats(0, 1, exclude_min=True),
    seed=st.integers(0, 1000),
)
def test_what_is_chosen_is_among_the_likeliest_that_were_allowed(
    logits: list[float], temperature: float, top_k: int, top_p: float, seed: int
) -> None:
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    values = torch.tensor(logits)
    token = choose(values, sampling, sampling.dice(0))
    assert token == choose(values, sampling, sampling.dice(0))
    likelier = values > values[token]
    assert not top_k or int(likelier.sum()) < top_k
    if temperature == 0 or temperature < 1e-30:
        assert not likelier.any()
        return
    shares = (values.double() / temperature).softmax(0)
    assert float(shares[likelier].sum()) <= top_p + 1e-5
