"""The optimizer's parameter groups and its learning rate over the steps."""

import math

import torch
from torch import nn

from glmplan.workload.job import Optimizer

# AdamW's settings of GPT-3 (Brown 2020, arXiv:2005.14165, appendix B), kept by most models since.
BETAS = (0.9, 0.95)
EPSILON = 1e-8
WEIGHT_DECAY = 0.1
MAX_GRADIENT_NORM = 1.0
FINAL_FRACTION = 0.1
"""Of the peak learning rate, what the cosine ends at."""


def make_optimizer(model: nn.Module, kind: Optimizer) -> torch.optim.Optimizer:
    """AdamW with decay on matrices only, or plain SGD. The learning rate is set before every step."""
    parameters = list(model.parameters())
    if kind is Optimizer.SGD:
        return torch.optim.SGD(parameters, lr=0.0)
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    # Fused: one pass over the state, no temporaries.
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=0.0, betas=BETAS, eps=EPSILON, fused=True
    )


def learning_rate_at(step: int, *, peak: float, warmup_steps: int, decay_steps: int) -> float:
    """Linear warm-up to ``peak`` over ``warmup_steps``, then a cosine down to a tenth of it at ``decay_steps``.

    >>> learning_rate_at(5, peak=1.0, warmup_steps=10, decay_steps=100)
    0.5
    >>> round(learning_rate_at(100, peak=1.0, warmup_steps=10, decay_steps=100), 6)
    0.1
    """
    if step < warmup_steps:
        return peak * step / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, decay_steps - warmup_steps))
    return peak * (FINAL_FRACTION + (1 - FINAL_FRACTION) * 0.5 * (1 + math.cos(math.pi * progress)))


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Uses ``value`` for the next step."""
    for group in optimizer.param_groups:
        group["lr"] = value
