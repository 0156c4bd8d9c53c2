"""What the evaluated designs say of the others: days of the first opinion times a factor for each choice.

ln(days / opinion) is fitted as a sum of effects: one for every value of every axis, devices x batch, devices x cluster
(ridge regression, Hoerl and Kennard 1970). Only days need a model: money, energy and devices follow from them exactly.
"""

from itertools import islice

import numpy as np
import numpy.typing as npt

from glmplan.search.codesign_evaluation import Evaluation
from glmplan.search.codesign_request import Goal
from glmplan.search.codesign_screening import Opinion, Screening
from glmplan.search.codesign_space import CodesignSpace, Index

Floats = npt.NDArray[np.float64]

RIDGE = 1e-2
"""Pull of every effect to nothing, in units of one evaluation."""
MOST_DESIGNS = 20_000
"""Of a larger space, every so manieth design is considered."""
CLUSTER, GPUS, PRECISION, BATCH = 0, 2, 3, 4


class Surrogate:
    """Predicts the designs of one space from those evaluated."""

    def __init__(self, space: CodesignSpace, screening: Screening) -> None:
        self._goals = space.request.goals
        every = -(-space.size() // MOST_DESIGNS)
        opinions = ((index, screening.opinion(index)) for index in islice(space.indices(), 0, None, every))
        usable = [(index, opinion) for index, opinion in opinions if opinion is not None]
        self._indices: list[Index] = [index for index, _ in usable]
        self._opinions: list[Opinion] = [opinion for _, opinion in usable]
        self._row = {index: row for row, index in enumerate(self._indices)}
        self._features = _features(self._indices, space.lengths)

    def next(self, known: dict[Index, Evaluation]) -> Index | None:
        """The untried design that is predicted to improve the front most; None where none is.

        Most by the maximin measure (Balling 2003, DOI 10.1007/3-540-36970-8_1): the least, over designs evaluated, of
        the largest log ratio by which a goal is bettered. Designs next to none but failures come last.
        """
        served = [(self._row[i], e.planned) for i, e in known.items() if e.planned is not None and i in self._row]
        untried = [row for row, index in enumerate(self._indices) if index not in known]
        if not served or not untried:
            return self._indices[untried[0]] if untried else None
        days = self._days([row for row, _ in served], [planned.goals[Goal.DAYS] for _, planned in served])
        actual = np.log([[planned.goals[goal] for goal in self._goals] for _, planned in served])
        predicted = np.log([self._opinions[row].goals(self._goals, float(days[row])) for row in untried])
        gains = (actual[None, :, :] - predicted[:, None, :]).max(axis=2).min(axis=1)
        doubtful = self._doubtful(known)
        order = sorted(range(len(untried)), key=lambda at: (_kind(self._indices[untried[at]]) in doubtful, -gains[at]))
        best = order[0]
        return self._indices[untried[best]] if gains[best] > 0 else None

    def _days(self, rows: list[int], days: list[float]) -> Floats:
        """Predicted days of every design."""
        opinion = np.log([opinion.days for opinion in self._opinions])
        x, y = self._features[rows], np.log(days) - opinion[rows]
        mean = float(y.mean())
        normal = x.T @ x + RIDGE * np.eye(x.shape[1])
        effects = np.linalg.solve(normal, x.T @ (y - mean))
        return np.asarray(np.exp(opinion + mean + self._features @ effects))

    def _doubtful(self, known: dict[Index, Evaluation]) -> set[Index]:
        """Kinds of design of which some failed and none served."""
        failed = {_kind(index) for index, evaluation in known.items() if evaluation.planned is None}
        return failed - {_kind(index) for index, evaluation in known.items() if evaluation.planned is not None}


def _kind(index: Index) -> Index:
    return index[CLUSTER], index[GPUS], index[PRECISION]


def _features(indices: list[Index], lengths: tuple[int, ...]) -> Floats:
    """One column for every value of every axis, devices x batch, and devices x cluster."""
    table = np.array(indices, dtype=np.int64).reshape(-1, len(lengths))
    columns = [(table[:, axis] == value) for axis, length in enumerate(lengths) for value in range(length)]
    devices, batch = (_centred(table[:, axis], lengths[axis]) for axis in (GPUS, BATCH))
    columns += [devices * batch]
    columns += [devices * (table[:, CLUSTER] == value) for value in range(lengths[CLUSTER])]
    return np.column_stack([np.asarray(column, dtype=np.float64) for column in columns])


def _centred(positions: npt.NDArray[np.int64], length: int) -> Floats:
    return np.asarray((positions - (length - 1) / 2) / max(1, length - 1), dtype=np.float64)
