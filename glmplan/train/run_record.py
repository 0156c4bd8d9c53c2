"""A training run on disk: ``plan.json`` and ``run.json`` in its folder say all that its processes need. No torch here.

DIR/plan.json run.json tokenizer.json        what was asked for
DIR/metrics.jsonl validation.jsonl           one line a step, one line a validation
DIR/measurement.json tensorboard/            what came out
DIR/checkpoints/{LATEST,step-N/}             saved training state
"""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from glmplan.documents import check, json_text, read_json, write_bytes
from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.plan.document import Option, Plan, plan_text, read_plan
from glmplan.plan.execution import Execution
from glmplan.train.capabilities import check_supported
from glmplan.train.checkpoint_folder import CHECKPOINTS, check_same_model, latest_step
from glmplan.train.huggingface_form import check_same_shape, weight_files
from glmplan.train.token_shards import open_token_shards
from glmplan.workload.job import TrainingJob

RUN_FILE = "run.json"
PLAN_FILE = "plan.json"
METRICS_FILE = "metrics.jsonl"
TOKENIZER_FILE = "tokenizer.json"
COMPILED_STACK = "glmplan-compiled"
WARMUP_STEPS = 2
"""First steps, in which memory is allocated and kernels are compiled: never timed."""
_DEFAULT_WARMUP_STEPS = 20
_DEFAULT_DECAY_STEPS = 10_000


class RunSettings(BaseModel):
    """How a plan is trained: ``run.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    data_dir: str
    option: NonNegativeInt = 0
    """0 for the plan's chosen layout, k for its alternative number k."""
    steps: PositiveInt
    seed: NonNegativeInt = Field(default=0, lt=2**31)
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    """The peak, reached after warm-up."""
    warmup_steps: NonNegativeInt
    decay_steps: PositiveInt
    """Step at which the cosine ends. Does not follow ``steps``, so that a longer run starts like a shorter one."""
    checkpoint_every: NonNegativeInt = 0
    """Steps between checkpoints; 0 for one at the end."""
    validate_every: NonNegativeInt = 0
    """Steps between validations; 0 for one at the end."""
    compile_model: bool = False
    init_from: str = ""
    """Hugging Face folder whose weights the run starts with; empty for fresh ones."""
    execution: Execution = Execution()
    timing_only: bool = False
    """A short run for its step times: no checkpoint, no validation, no TensorBoard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """What the user said; None keeps a resumed run's value, or takes the default."""

    steps: int
    option: int = 0
    seed: int | None = None
    learning_rate: float | None = None
    warmup_steps: int | None = None
    checkpoint_every: int | None = None
    validate_every: int | None = None
    compile_model: bool | None = None
    init_from: str | None = None
    execution: Execution | None = None
    timing_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """A run's folder with what is in it."""

    directory: Path
    plan: Plan
    settings: RunSettings
    resumed_from: int = 0
    """Step of the checkpoint to go on from; 0 for a fresh start."""

    @property
    def option(self) -> Option:
        """The layout to train, with its estimate."""
        return chosen_option(self.plan, self.settings.option)

    @property
    def layout(self) -> ParallelLayout:
        """The layout to train."""
        return self.option.layout

    @property
    def job(self) -> TrainingJob:
        """What to train."""
        return self.plan.request.job


def design_run(
    plan_path: Path, data_dir: Path, out_dir: Path, requested: Requested, *, resume: bool = False
) -> TrainingRun:
    """Checks everything that can be checked without starting; writes nothing.

    Raises InputError when the plan, the data, the settings or the output folder do not fit together.
    """
    plan = read_plan(plan_path)
    if requested.steps < 1:
        raise InputError(f"steps: must be 1 or more; got {requested.steps}")
    job, layout = plan.request.job, chosen_option(plan, requested.option).layout
    check_supported(job, layout)
    _check_data(data_dir, job)
    exists = (out_dir / RUN_FILE).exists() or (out_dir / METRICS_FILE).exists()
    if exists and not resume:
        raise InputError(f"{out_dir}: already holds a run; use --resume to go on with it, or another --out")
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError(f"{out_dir}: is a file; expected a folder to write the run to")
    earlier = read_settings(out_dir) if exists and (out_dir / RUN_FILE).exists() else None
    step = (latest_step(out_dir) or 0) if exists else 0
    if step:
        check_same_model(out_dir, step, job.architecture)
    settings = _settings(plan, data_dir, requested, earlier)
    if step and requested.init_from is not None:
        raise InputError(f"init from: {out_dir} is at step {step} already; leave it out, or use another --out")
    if settings.init_from and not step:
        check_same_shape(Path(settings.init_from), job.architecture)
        weight_files(Path(settings.init_from))
    return TrainingRun(directory=out_dir, plan=plan, settings=settings, resumed_from=step)


def write_run(run: TrainingRun) -> list[Path]:
    """Writes the run's documents, so that its processes can start; returns those that are new.

    Raises InputError when that is impossible.
    """
    tokenizer = Path(run.settings.data_dir) / TOKENIZER_FILE
    contents = {PLAN_FILE: plan_text(run.plan).encode()}
    if tokenizer.is_file():
        contents[TOKENIZER_FILE] = tokenizer.read_bytes()
    contents[RUN_FILE] = json_text(run.settings.model_dump(mode="json")).encode()
    new = []
    for name, content in contents.items():
        path = run.directory / name
        if not path.exists():
            new.append(path)
        write_bytes(path, content)
    return new


def read_run(directory: Path) -> TrainingRun:
    """The run in ``directory``, to go on from its last checkpoint. Raises InputError when there is none."""
    settings = read_settings(directory)
    plan = read_plan(directory / PLAN_FILE)
    return TrainingRun(directory=directory, plan=plan, settings=settings, resumed_from=latest_step(directory) or 0)


def read_settings(directory: Path) -> RunSettings:
    """``run.json``. Raises InputError when ``directory`` holds no run, DocumentError when it is broken."""
    path = directory / RUN_FILE
    if not path.is_file():
        raise InputError(f"{directory}: holds no training run ({RUN_FILE} is missing); make one with `glmplan train`")
    return check(RunSettings, read_json(path))


def withdraw_run(run: TrainingRun, written: list[Path]) -> None:
    """Removes what a failed start wrote, so that the same command can be given again; keeps any trained step."""
    if (run.directory / METRICS_FILE).exists() or run.resumed_from:
        return
    for path in written:
        path.unlink(missing_ok=True)
    for name in (CHECKPOINTS, "tensorboard"):
        shutil.rmtree(run.directory / name, ignore_errors=True)
    if not any(run.directory.iterdir()):
        run.directory.rmdir()


def chosen_option(plan: Plan, number: int) -> Option:
    """Layout ``number`` of a plan: 0 is the chosen one. Raises InputError when the plan has none of that number."""
    options = (plan.chosen, *plan.alternatives)
    if not 0 <= number < len(options):
        raise InputError(
            f"option: the plan has alternatives 1 to {len(options) - 1} (0 is the chosen layout); got {number}"
        )
    return options[number]


def _check_data(data_dir: Path, job: TrainingJob) -> None:
    shards = open_token_shards(data_dir, "train")
    if shards.num_tokens == 0:
        raise InputError(f"{data_dir}: the train split is empty; prepare more text")
    vocab = job.architecture.vocab
    if shards.vocab_size > vocab:
        raise InputError(
            f"{data_dir}: vocabulary of {shards.vocab_size} tokens is larger than the model's vocab {vocab}; prepare "
            f"the data with --vocab-size {vocab}, or plan a model with vocab {shards.vocab_size}"
        )


def _settings(plan: Plan, data_dir: Path, requested: Requested, earlier: RunSettings | None) -> RunSettings:
    if earlier is not None and requested.seed is not None and requested.seed != earlier.seed:
        raise InputError(f"seed: the run was started with {earlier.seed} and cannot go on with {requested.seed}")
    job = plan.request.job
    execution = requested.execution or planned_execution(plan, requested.option)
    compiled = execution.compile_model
    values = {
        "seed": 0,
        "learning_rate": _default_learning_rate(job.architecture.hidden),
        "warmup_steps": _DEFAULT_WARMUP_STEPS,
        "decay_steps": _decay_steps(job, requested.steps),
        "checkpoint_every": 0,
        "validate_every": 0,
        "compile_model": plan.request.stack == COMPILED_STACK if compiled is None else compiled,
    }
    if earlier is not None:
        values |= {name: getattr(earlier, name) for name in values}
    given = {name: getattr(requested, name) for name in values if hasattr(requested, name)}
    values |= {name: value for name, value in given.items() if value is not None}
    lowest = {"seed": 0, "warmup_steps": 0, "checkpoint_every": 0, "validate_every": 0}
    for name, bound in lowest.items():
        if values[name] < bound:
            raise InputError(f"{name}: must be {bound} or more; got {values[name]}")
    if not (values["learning_rate"] > 0 and math.isfinite(values["learning_rate"])):
        raise InputError(f"learning rate: must be positive; got {values['learning_rate']}")
    first_weights = "" if earlier is None else earlier.init_from
    return RunSettings(
        data_dir=str(data_dir.resolve()),
        option=requested.option,
        steps=requested.steps,
        execution=earlier.execution if earlier is not None and requested.execution is None else execution,
        timing_only=requested.timing_only,
        init_from=first_weights if requested.init_from is None else requested.init_from,
        **values,  # type: ignore[arg-type]
    )


def planned_execution(plan: Plan, option: int) -> Execution:
    """What measured tuning settled for a layout of the plan; the default for a layout it did not choose."""
    return plan.tuning.execution if plan.tuning is not None and option == 0 else Execution()


def _decay_steps(job: TrainingJob, steps: int) -> int:
    if job.tokens is not None:
        return max(1, round(job.tokens / job.tokens_per_step))
    return max(_DEFAULT_DECAY_STEPS, steps)


def _default_learning_rate(hidden: int) -> float:
    """1e-3 up to width 256, then falling with the root of the width: 5.8e-4 at 768, 2.5e-4 at 4096.

    Close to what was used at these widths: 6e-4 (GPT-3 125M, arXiv:2005.14165, table 2.1) and 3e-4 (Llama 7B,
    arXiv:2302.13971, table 2).
    """
    return 1e-3 * min(1.0, math.sqrt(256 / hidden))
