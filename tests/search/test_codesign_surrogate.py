"""The corrected opinion finds what follows from effects of single choices."""

import numpy as np

from glmplan.search.codesign_evaluation import Evaluation
from glmplan.search.codesign_request import Goal, request_of
from glmplan.search.codesign_screening import Screening
from glmplan.search.codesign_space import CodesignSpace, Index
from glmplan.search.codesign_surrogate import Surrogate
from tests.search.test_codesign import REQUEST, sample

REQUESTED = request_of(REQUEST | {"goals": ["days"], "precisions": ["bf16"]})
SPACE = CodesignSpace(request=REQUESTED)
SCREENING = Screening(REQUESTED)


def additive(index: Index) -> Evaluation:
    """Days of the opinion times a factor for cluster, batch and stack."""
    opinion, planned = SCREENING.opinion(index), sample().planned
    assert opinion is not None
    assert planned is not None
    days = opinion.days * (3.0, 1.5, 4.0)[index[0]] * (1.5, 1.0, 1.2)[index[4]] * (2.0, 1.0)[index[5]]
    return Evaluation(planned=planned.model_copy(update={"goals": {Goal.DAYS: days}}))


def test_the_best_design_is_named_from_a_few_others() -> None:
    everything = {index: additive(index) for index in SPACE.indices() if SCREENING.opinion(index) is not None}
    best = min(everything, key=lambda index: everything[index].planned.goals[Goal.DAYS])  # type: ignore[union-attr]
    random = np.random.default_rng(0)
    others = [index for index in everything if index != best]
    seen = {others[row]: everything[others[row]] for row in random.choice(len(others), 25, replace=False)}
    assert Surrogate(SPACE, SCREENING).next(seen) == best


def test_nothing_is_named_when_nothing_is_left_or_better() -> None:
    everything = {index: additive(index) for index in SPACE.indices() if SCREENING.opinion(index) is not None}
    assert Surrogate(SPACE, SCREENING).next(everything) is None
    best = min(everything, key=lambda index: everything[index].planned.goals[Goal.DAYS])  # type: ignore[union-attr]
    worse = dict(list(everything.items())[::3]) | {best: everything[best]}
    assert Surrogate(SPACE, SCREENING).next(worse) is None


def test_kinds_that_failed_come_last() -> None:
    failed: dict[Index, Evaluation] = {
        (1, 0, 0, 0, batch, 0, 0): Evaluation(reason="does not fit in memory") for batch in range(3)
    }
    named = Surrogate(SPACE, SCREENING).next(failed | {(0, 0, 0, 0, 0, 0, 0): additive((0, 0, 0, 0, 0, 0, 0))})
    assert named is not None
    assert named[:3] != (1, 0, 0)
