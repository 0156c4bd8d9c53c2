"""Multi-objective co-design: which machine, network, stack, precision and batch, with the exhaustive planner inside.

The study starts from a cheap opinion of the whole space. Then an Optuna sampler proposes, and after each proposal the
design is tried that the opinion, corrected by what was evaluated, thinks best. A space no larger than the budget is
enumerated.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from glmplan.errors import DoesNotFit
from glmplan.search.codesign_evaluation import Evaluation, Evaluator, Planned
from glmplan.search.codesign_request import CodesignRequest
from glmplan.search.codesign_screening import Screening
from glmplan.search.codesign_space import CodesignSpace, Index
from glmplan.search.codesign_study import CodesignStudy, SamplerName, claimed
from glmplan.search.codesign_surrogate import Surrogate
from glmplan.search.pareto_front import front_rows

WARM_SHARE = 1 / 3
"""Of the budget, at most, for the designs that the cheap opinion proposes."""
GENERATIONS = 4
"""Of NSGA-II within the budget; its population follows."""
SMALLEST_POPULATION = 8
LEAST, MOST = 60, 400
MAX_REPEATS = 20
"""Proposals for each evaluation, after which the sampler is taken to have nothing new."""

Progress = Callable[[int, int], None]
"""Hears the number of designs evaluated and how many there will be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodesignOptions:
    """How the space is searched."""

    evaluations: int
    """Designs to evaluate."""
    sampler: SamplerName = "tpe"
    seed: int = 0
    warm_start: bool = True
    guided: bool = True
    """Whether the corrected opinion's best is tried after each proposal of the sampler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodesignResult:
    """The front, and what it was found from."""

    request: CodesignRequest
    front: tuple[tuple[Index, Planned], ...]
    """Designs that no other evaluated design beats in every goal, by their first goal."""
    considered: int
    """Designs evaluated."""
    space: int
    """Designs there are."""
    rejected: dict[str, int]
    """Reason -> designs that cannot serve."""

    @property
    def exhaustive(self) -> bool:
        """Whether every design was evaluated: the front is then exact within the model."""
        return self.considered >= self.space


def default_evaluations(space: CodesignSpace) -> int:
    """A tenth of the space, but at least ``LEAST`` and at most ``MOST``."""
    return max(LEAST, min(MOST, space.size() // 10))


def search_designs(
    request: CodesignRequest,
    options: CodesignOptions,
    *,
    folder: Path | None = None,
    evaluator: Evaluator | None = None,
    progress: Progress | None = None,
) -> CodesignResult:
    """The front of ``request``. With a ``folder`` the study is kept there, and gone on with.

    Raises DoesNotFit where no design evaluated can serve, InputError for a folder that holds something else.
    """
    evaluator = evaluator or Evaluator(request)
    space = CodesignSpace(request=request)
    goal = min(options.evaluations, space.size())
    with claimed(folder) if folder is not None else nullcontext():
        population = max(SMALLEST_POPULATION, goal // GENERATIONS)
        study = CodesignStudy(request, folder=folder, sampler=options.sampler, seed=options.seed, population=population)
        _Search(study, evaluator, space, goal, options, progress).run()
        evaluations = study.evaluations()
    return result_of(request, evaluations)


class _Search:
    """One run of a study up to its number of designs."""

    def __init__(
        self,
        study: CodesignStudy,
        evaluator: Evaluator,
        space: CodesignSpace,
        goal: int,
        options: CodesignOptions,
        progress: Progress | None,
    ) -> None:
        self._study, self._evaluator, self._space = study, evaluator, space
        self._goal, self._options, self._progress = goal, options, progress
        self._known = study.evaluations()

    def run(self) -> None:
        """Evaluates until the goal is reached or nothing new is proposed."""
        for number, index in self._study.unfinished():
            self._tell(number, index)
        if self._goal == self._space.size():
            for index in self._space.indices():
                self._try(index)
            return
        screening = Screening(self._space.request)
        if self._options.warm_start:
            for index in screening.promising()[: int(self._goal * WARM_SHARE)]:
                self._try(index)
        surrogate = Surrogate(self._space, screening) if self._options.guided else None
        repeats = 0
        while len(self._known) < self._goal and repeats < MAX_REPEATS * self._goal:
            number, index = self._study.propose()
            repeats += index in self._known
            self._tell(number, index)
            if surrogate is not None and (best := surrogate.next(self._known)) is not None:
                self._try(best)

    def _try(self, index: Index) -> None:
        if index not in self._known and len(self._known) < self._goal:
            self._tell(*self._study.insert(index))

    def _tell(self, number: int, index: Index) -> None:
        first = index not in self._known
        evaluation = self._known[index] if not first else self._evaluator.evaluate(index)
        self._study.tell(number, evaluation, first=first)
        self._known[index] = evaluation
        if first and self._progress is not None:
            self._progress(len(self._known), self._goal)


def result_of(request: CodesignRequest, evaluations: dict[Index, Evaluation]) -> CodesignResult:
    """The front of ``evaluations``. Raises DoesNotFit with the reasons where none can serve."""
    front = _front(request, evaluations)
    rejected = Counter(evaluation.reason for evaluation in evaluations.values() if evaluation.planned is None)
    space = CodesignSpace(request=request).size()
    counts = dict(sorted(rejected.items(), key=lambda item: (-item[1], item[0])))
    if not front:
        reasons = "; ".join(f"{count} {reason}" for reason, count in list(counts.items())[:5])
        raise DoesNotFit(f"codesign: none of {len(evaluations)} designs evaluated (of {space}) can serve: {reasons}")
    return CodesignResult(
        request=request, front=tuple(front), considered=len(evaluations), space=space, rejected=counts
    )


def _front(request: CodesignRequest, evaluations: dict[Index, Evaluation]) -> list[tuple[Index, Planned]]:
    """Designs on the front, ordered by goals, then by position: the order of evaluation leaves no trace."""
    served = sorted((index, e.planned) for index, e in evaluations.items() if e.planned is not None)
    values = [[planned.goals[goal] for goal in request.goals] for _, planned in served]
    if not values:
        return []
    rows = sorted(front_rows(values), key=lambda row: (values[row], served[row][0]))
    return [served[row] for row in rows]
