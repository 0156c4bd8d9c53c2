import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from glmplan.train.optimizer import WEIGHT_DECAY, learning_rate_at, make_optimizer
from glmplan.workload.job import Optimizer


@given(st.integers(1, 2000), st.integers(0, 500), st.integers(1, 1500))
def test_the_rate_stays_between_nothing_and_its_peak(step: int, warmup_steps: int, decay_steps: int) -> None:
    rate = learning_rate_at(step, peak=2.0, warmup_steps=warmup_steps, decay_steps=decay_steps)
    assert 0 < rate <= 2.0
    if step >= max(decay_steps, warmup_steps + 1):
        assert rate == pytest.approx(0.2)


def test_warm_up_is_linear_and_the_cosine_passes_its_middle() -> None:
    def rate(step: int) -> float:
        return learning_rate_at(step, peak=1.0, warmup_steps=10, decay_steps=110)

    assert [rate(step) for step in (1, 5, 10)] == pytest.approx([0.1, 0.5, 1.0])
    assert rate(60) == pytest.approx((1.0 + 0.1) / 2)


def test_weight_decay_spares_norms_and_biases() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    decayed, spared = make_optimizer(model, Optimizer.ADAMW).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (WEIGHT_DECAY, 0.0)
    assert [p.dim() for p in decayed["params"]] == [2]
    assert [p.dim() for p in spared["params"]] == [1, 1, 1]


def test_one_adamw_step_is_the_textbook_one() -> None:
    weight = nn.Parameter(torch.tensor([[1.0]]))
    model = nn.ParameterList([weight])
    optimizer = make_optimizer(model, Optimizer.ADAMW)
    optimizer.param_groups[0]["lr"] = 0.1
    weight.grad = torch.tensor([[0.5]])
    optimizer.step()
    # Loshchilov 2019, arXiv:1711.05101, algorithm 2: after bias correction the first update is the gradient's sign.
    assert weight.item() == pytest.approx(1.0 - 0.1 * (1.0 + WEIGHT_DECAY * 1.0), abs=1e-6)


def test_sgd_is_plain() -> None:
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = make_optimizer(nn.ParameterList([weight]), Optimizer.SGD)
    optimizer.param_groups[0]["lr"] = 0.5
    weight.grad = torch.tensor([1.0])
    optimizer.step()
    assert weight.item() == 1.5
    assert not math.isnan(weight.item())
