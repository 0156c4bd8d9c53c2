"""How well the model does on held-out text: loss, perplexity and next-token accuracy."""

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from glmplan.train.batches import TokenSource, as_micro_batch
from glmplan.train.parallelize import release_gathered
from glmplan.train.training_step import Replica, whole

MAX_SEQUENCES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Averages over the tokens of the held-out sequences."""

    loss: float
    """Mean cross-entropy in nats."""
    accuracy: float
    """Fraction of tokens that were the model's first guess."""
    tokens: int

    @property
    def perplexity(self) -> float:
        """exp(loss)."""
        return math.exp(min(self.loss, 700.0))


@torch.no_grad()
def evaluate(replica: Replica, source: TokenSource, max_sequences: int = MAX_SEQUENCES) -> Evaluation:
    """The first ``max_sequences`` sequences of ``source``, spread over the data ranks. Collective."""
    seq_len, layout = replica.job.seq_len, replica.layout
    sequences = min(max_sequences, max(1, source.num_tokens // seq_len))
    per_round = layout.dp * layout.micro_batch
    sums = torch.zeros(3, dtype=torch.float64, device=replica.device)
    for start in range(0, sequences, per_round):
        first = start + replica.grid.data_rank * layout.micro_batch
        numbers = [first + index for index in range(layout.micro_batch)]
        # Every rank takes part in every round; sequences beyond the last one count for nothing.
        rows = [source.window(min(number, sequences - 1) * seq_len, seq_len + 1) for number in numbers]
        batch = as_micro_batch(np.stack(rows), replica.device)
        counts_B1 = torch.tensor([[float(number < sequences)] for number in numbers], device=replica.device)
        logits_BLV = _logits(replica, batch.tokens_BL)
        if logits_BLV is None:
            continue  # another stage of the pipeline has them
        logits_BLV = whole(logits_BLV).float()
        losses_BL = F.cross_entropy(logits_BLV.transpose(1, 2), batch.targets_BL, reduction="none")
        hits_BL = (logits_BLV.argmax(-1) == batch.targets_BL).float()
        sums += torch.stack([(value * counts_B1).sum() for value in (losses_BL, hits_BL, torch.ones_like(hits_BL))])
    for part in replica.parts:
        release_gathered(part)
    # Tensor-parallel ranks hold the same numbers, so they drop out of the ratios.
    distributed.all_reduce(sums)
    loss, hits, tokens = sums.tolist()
    return Evaluation(loss=loss / tokens, accuracy=hits / tokens, tokens=round(tokens / layout.tp))


def _logits(replica: Replica, tokens_BL: Tensor) -> Tensor | None:
    if replica.pipeline is not None:
        return replica.pipeline.forward(tokens_BL)
    return cast(Tensor, replica.model(tokens_BL))
