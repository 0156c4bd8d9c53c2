"""An Optuna study on disk that can be stopped at any moment: one trial a design, the evaluation kept with it.

One process works on a folder at a time. A trial that a stopped process left open is evaluated again, under its number.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from glmplan.errors import InputError
from glmplan.search.codesign_evaluation import Evaluation
from glmplan.search.codesign_request import CodesignRequest
from glmplan.search.codesign_space import AXES, ORDERED, CodesignSpace, Index
from glmplan.search.study_file import sqlite_storage

STUDY_FILE = "study.db"
STUDY_NAME = "codesign"
SUBJECT, EVALUATION = "request", "evaluation"

SamplerName = Literal["nsga2", "tpe", "random"]


class CodesignStudy:
    """Trials of a co-design question in a database, or in memory where no folder is given."""

    def __init__(
        self,
        request: CodesignRequest,
        *,
        folder: Path | None,
        sampler: SamplerName,
        seed: int,
        population: int,
    ) -> None:
        """Opens or makes the study. Raises InputError when the folder holds another question's."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        space = CodesignSpace(request=request)
        self._goals = request.goals
        self._sampler_name, self._seed, self._population = sampler, seed, population
        self._distributions: dict[str, BaseDistribution] = {}
        for name, length in zip(AXES, space.lengths, strict=True):
            if length > 1:
                ordered = name in ORDERED
                positions = tuple(range(length))
                self._distributions[name] = (
                    IntDistribution(0, length - 1) if ordered else CategoricalDistribution(positions)
                )
        path = None if folder is None else folder / STUDY_FILE
        try:
            storage = None if path is None else sqlite_storage(f"sqlite:///{path}")
            self._study = optuna.create_study(
                study_name=STUDY_NAME, storage=storage, directions=["minimize"] * len(self._goals), load_if_exists=True
            )
        except Exception as error:
            if path is None or not path.exists():
                raise
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: cannot be read ({reason}); use another -o") from None
        subject = {"request": request.model_dump(mode="json"), "sampler": sampler, "seed": seed}
        text = json.dumps(subject, sort_keys=True)
        known = self._study.user_attrs.get(SUBJECT)
        if known is not None and known != text:
            raise InputError(f"{folder}: holds the study of another request, sampler or seed; use another -o")
        if known is None:
            self._study.set_user_attr(SUBJECT, text)

    def evaluations(self) -> dict[Index, Evaluation]:
        """What was evaluated, in order."""
        return {
            _index_of(trial): Evaluation.model_validate_json(trial.user_attrs[EVALUATION])
            for trial in self._trials()
            if EVALUATION in trial.user_attrs
        }

    def unfinished(self) -> list[tuple[int, Index]]:
        """Trials that a stopped process left open, with their designs."""
        running = [trial for trial in self._trials() if trial.state is TrialState.RUNNING]
        open_trials = []
        for trial in running:
            if len(trial.params) < len(self._distributions):  # stopped while it was made
                self._study.tell(trial.number, state=TrialState.FAIL)
            else:
                open_trials.append((trial.number, _index_of(trial)))
        return open_trials

    def propose(self) -> tuple[int, Index]:
        """The sampler's next design, and its trial. The same history gives the same proposal, stopped or not."""
        told = sum(trial.state.is_finished() for trial in self._trials())
        self._study.sampler = self._sampler(self._seed * 1_000_003 + told)
        trial = self._study.ask(self._distributions)
        return trial.number, _index_of_params(trial.params)

    def insert(self, index: Index) -> tuple[int, Index]:
        """A trial of a given design."""
        names = [name for name in AXES if name in self._distributions]
        self._study.enqueue_trial({name: index[AXES.index(name)] for name in names})
        return self.propose()

    def tell(self, number: int, evaluation: Evaluation, *, first: bool) -> None:
        """The evaluation of a trial; ``first`` where the design was not evaluated in an earlier one."""
        if first:
            trial_id = next(trial._trial_id for trial in self._trials() if trial.number == number)
            self._study._storage.set_trial_user_attr(trial_id, EVALUATION, evaluation.model_dump_json())
        if evaluation.planned is None:
            self._study.tell(number, state=TrialState.FAIL)
        else:
            self._study.tell(number, [evaluation.planned.goals[goal] for goal in self._goals])

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        seed %= 2**32
        if self._sampler_name == "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=self._population)
        if self._sampler_name == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=self._population)


def _index_of(trial: FrozenTrial) -> Index:
    return _index_of_params(trial.params)


def _index_of_params(params: dict[str, int]) -> Index:
    return tuple(int(params.get(name, 0)) for name in AXES)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """While open, no other process works on the study in ``folder``. Raises InputError when one does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / "study.lock").open("w")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to: {(error.strerror or str(error)).lower()}") from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{folder}: another co-design works here; wait for it, or use another -o") from None
        yield
