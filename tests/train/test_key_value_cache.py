import pytest
import torch

from glmplan.train.decoder_model import Decoder
from glmplan.train.key_value_cache import KeyValueCache
from tests.train.jobs import CPU, SEQ_LEN
from tests.train.test_decoder_model import SHAPES, make_model, some_tokens


def new_cache(model: Decoder, *padding: int) -> KeyValueCache:
    return KeyValueCache(len(model.layers), room=SEQ_LEN, padding=list(padding), device=CPU)


@pytest.mark.parametrize("shape", SHAPES)
def test_token_by_token_with_a_cache_gives_the_same_logits(shape: str) -> None:
    model, tokens = make_model(**SHAPES[shape]), some_tokens(1)
    expected = model(tokens)
    cache = new_cache(model, 0)
    parts = [model(tokens[:, :6], cache), model(tokens[:, 6:9], cache)]
    parts += [model(tokens[:, index : index + 1], cache) for index in range(9, SEQ_LEN)]
    assert torch.allclose(torch.cat(parts, dim=1), expected, atol=1e-5)
    assert cache.full


@pytest.mark.parametrize("shape", SHAPES)
def test_a_text_beside_a_longer_one_gives_the_logits_it_has_alone(shape: str) -> None:
    model, tokens = make_model(**SHAPES[shape]), some_tokens(3)
    lengths = (SEQ_LEN - 2, 5, 1)
    padding = [lengths[0] - length for length in lengths]
    texts = [tokens[index, :length] for index, length in enumerate(lengths)]
    padded = torch.stack(
        [torch.cat([tokens.new_zeros(before), text]) for before, text in zip(padding, texts, strict=True)]
    )
    cache = new_cache(model, *padding)
    together = [model(padded[:, :7], cache), model(padded[:, 7:], cache), model(tokens[:, -1:], cache)]
    logits = torch.cat(together, dim=1)
    for index, before in enumerate(padding):
        alone = model(torch.cat([texts[index], tokens[index, -1:]])[None])[0]
        assert torch.allclose(logits[index, before:], alone, atol=1e-5), index


def test_a_text_goes_on_unchanged_when_others_are_forgotten() -> None:
    model, tokens = make_model(), some_tokens(3)
    cache = new_cache(model, 0, 2, 1)
    model(tokens[:, :8], cache)
    cache.keep([2])
    logits = model(tokens[2:, 8:9], cache)
    assert torch.allclose(logits[0, 0], model(tokens[2:, 1:9])[0, -1], atol=1e-5)
