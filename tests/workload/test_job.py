"""The training job."""

import pytest
from pydantic import ValidationError

from glmplan.workload.job import Optimizer
from glmplan.workload.optimizer_state import STATE_BYTES
from tests.small_jobs import job_of, model


def test_a_step_has_sequence_length_times_batch_tokens() -> None:
    assert job_of(seq_len=256, global_batch=8).tokens_per_step == 2048


def test_a_sequence_longer_than_the_learned_positions_is_refused() -> None:
    with pytest.raises(ValidationError, match="seq_len: 513 exceeds the 512 learned positions of dense"):
        job_of(model(learned_positions=512), seq_len=513)
    assert job_of(model(learned_positions=512), seq_len=512).seq_len == 512


@pytest.mark.parametrize(
    ("field", "value"), [("seq_len", 0), ("global_batch", -1), ("tokens", float("inf")), ("tokens", 0)]
)
def test_sizes_must_be_positive_and_finite(field: str, value: float) -> None:
    with pytest.raises(ValidationError):
        job_of(None, **{field: value})


def test_adam_keeps_two_fp32_moments_and_plain_descent_nothing() -> None:
    """Rajbhandari 2020 (arXiv:1910.02054, section 3.1): 4 + 4 bytes, besides the fp32 parameter itself."""
    assert STATE_BYTES == {Optimizer.ADAMW: 8.0, Optimizer.SGD: 0.0}
