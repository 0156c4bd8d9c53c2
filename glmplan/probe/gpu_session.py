"""A GPU session: probe the device, plan a model for it, train several layouts, set predicted beside measured.

What it has is written after every setting, so that a session that is cut off has lost one setting at most. Training is
handed in: this package does not know the trainer.
"""

import itertools
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from glmplan import __version__
from glmplan.architecture.catalog import load_architecture
from glmplan.architecture.parameters import parameter_counts
from glmplan.documents import Json, check, json_text, read_json, write_text
from glmplan.errors import DoesNotFit, GlmplanError
from glmplan.hardware.catalog import load_cluster
from glmplan.hardware.measurements import Measurements
from glmplan.plan.document import Option, Plan, write_plan
from glmplan.plan.measurement import Measurement, measurement_line
from glmplan.plan.request import PlanRequest
from glmplan.probe.allocator import measure_allocator
from glmplan.probe.device_under_test import DeviceUnderTest, find_device, runtime_version
from glmplan.probe.gpu_record import Outcome, SessionRecord, SettingRecord
from glmplan.probe.gpu_report import report_text
from glmplan.probe.gpu_scale import Scale, plan_request
from glmplan.probe.machine import probe_machine, write_profile
from glmplan.probe.ranks import run_on_ranks
from glmplan.units import BYTES, parse_quantity

ALLOCATOR_LIMIT_S = 60.0
START_UP_S = 30.0
"""First guess of what a training costs before its first step."""
COMPILE_S = 60.0
"""The same for compilation."""


class Train(Protocol):
    """Trains option ``option`` of a plan in processes of its own; leaves ``measurement.json`` in ``out_dir``.

    Raises DoesNotFit when memory runs out, another GlmplanError when the training fails.
    """

    def __call__(
        self, plan_path: Path, out_dir: Path, *, steps: int, option: int, compiled: bool, seed: int
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What the session is handed."""

    probe: Callable[[float, int, Path], Json]
    """(seconds, seed, folder) -> cluster profile document of one device."""
    plan: Callable[[PlanRequest], Plan]
    train: Train
    say: Callable[[str], None]
    """Takes one line of progress."""
    date: str
    command: str
    clock: Callable[[], float] = time.monotonic


@dataclass(slots=True)
class _Session:
    """The state of a session: what is known so far, and where it is written."""

    record: SessionRecord
    measured: Measurements
    stem: Path
    started_s: float
    clock: Callable[[], float]
    cases: list[Measurement] = field(default_factory=list)
    """The trainer's own records of the settings that ran, in the form of the published cases."""

    def left_s(self) -> float:
        return self.record.budget_s - (self.clock() - self.started_s)

    def update(self, **changes: Any) -> None:
        used = self.clock() - self.started_s
        self.record = self.record.model_copy(update={**changes, "seconds_used": used})

    def write(self) -> None:
        write_text(self.stem.with_suffix(".json"), json_text(self.record.model_dump(mode="json")))
        cases = "".join(measurement_line(case) for case in self.cases)
        write_text(self.stem.with_suffix(".jsonl"), cases)
        write_text(self.stem.with_suffix(".md"), report_text(self.record, self.measured))


def probe_one_device(seconds: float, seed: int, folder: Path) -> Json:
    """The profile of this machine's first device, measured for about ``seconds`` seconds."""
    return probe_machine(ranks=1, seconds=seconds, seed=seed, dtypes=None, folder=folder, progress=_silent)


def gpu_at_hand() -> bool:
    """Whether torch sees a GPU."""
    return find_device(1)[0].kind == "cuda"


def run_gpu_session(*, out: Path, scale: Scale, budget_s: float, seed: int, tools: Tools) -> Path:
    """Runs a session on the first device; writes ``gpu-<device>.{yaml,json,jsonl,md}`` to ``out``, returns the report.

    No setting is started that is not expected to end within ``budget_s`` seconds. Raises GlmplanError when the probe
    fails; whatever fails later is noted in the report.
    """
    started_s = tools.clock()
    device, _ = find_device(1)
    out.mkdir(parents=True, exist_ok=True)
    stem = out / f"gpu-{_slug(device.name)}"
    tools.say(f"probing {device.name} for {scale.probe_s:g} s")
    probe_s = min(scale.probe_s, budget_s / 3)
    profile = stem.with_suffix(".yaml")
    write_profile(tools.probe(probe_s, seed, out), profile, overwrite=True)
    session = _Session(
        record=_empty_record(device, scale, profile, budget_s, seed, tools),
        measured=load_cluster(str(profile)).measured.own or Measurements(),
        stem=stem,
        started_s=started_s,
        clock=tools.clock,
    )
    session.update(allocator=_allocator_facts(device))
    session.write()
    with tempfile.TemporaryDirectory(prefix="glmplan-gpu-") as folder:
        plans = _make_plans(session, scale, str(profile), Path(folder), tools)
        _train_settings(session, scale, plans, Path(folder), seed, tools)
    session.update()
    session.write()
    return stem.with_suffix(".md")


def _make_plans(session: _Session, scale: Scale, cluster: str, folder: Path, tools: Tools) -> dict[str, Path]:
    """Plans for each stack, written to ``folder``; enters their options as settings that have not been started."""
    by_stack: list[list[SettingRecord]] = []
    paths: dict[str, Path] = {}
    for stack, compiled in scale.stacks:
        try:
            plan = tools.plan(plan_request(scale, cluster, stack))
        except GlmplanError as error:
            session.update(notes=(*session.record.notes, f"No plan for the stack {stack}: {error}"))
            continue
        paths[stack] = folder / f"{stack}.json"
        write_plan(plan, paths[stack])
        options = (plan.chosen, *plan.alternatives)
        by_stack.append([_setting(stack, compiled, number, option) for number, option in enumerate(options)])
    session.update(settings=tuple(_alternating(by_stack))[: scale.most_settings])
    session.write()
    return paths


def _train_settings(
    session: _Session, scale: Scale, plans: dict[str, Path], folder: Path, seed: int, tools: Tools
) -> None:
    """Trains one setting after another while the time lasts, the most telling ones first."""
    overhead_s = {True: START_UP_S + COMPILE_S, False: START_UP_S}
    slowdown = 1.0
    for index, setting in enumerate(session.record.settings):
        expected_s = overhead_s[setting.compiled] + scale.steps * setting.predicted_step_time_s * slowdown
        name = f"{setting.stack} {setting.layout}"
        if expected_s > session.left_s():
            _replace_setting(session, index, setting.model_copy(update={"note": "no time left for it"}))
            continue
        tools.say(f"training {name}; {session.left_s():.0f} s left")
        began_s = tools.clock()
        done, measurement = _train_one(setting, plans[setting.stack], folder / f"run-{index}", scale, seed, tools)
        used_s = tools.clock() - began_s
        _replace_setting(session, index, done.model_copy(update={"seconds_used": used_s}), measurement)
        if done.measured_step_time_s is not None:
            slowdown = max(slowdown, done.measured_step_time_s / setting.predicted_step_time_s)
            overhead_s[setting.compiled] = max(0.0, used_s - scale.steps * done.measured_step_time_s)


def _train_one(
    setting: SettingRecord, plan: Path, out_dir: Path, scale: Scale, seed: int, tools: Tools
) -> tuple[SettingRecord, Measurement | None]:
    try:
        tools.train(plan, out_dir, steps=scale.steps, option=setting.option, compiled=setting.compiled, seed=seed)
        measurement = check(Measurement, read_json(out_dir / "measurement.json"))
    except DoesNotFit:
        return _ended(setting, "out of memory", ""), None
    except GlmplanError as error:
        return _ended(setting, "failed", str(error).splitlines()[-1][:200]), None
    finally:
        shutil.rmtree(out_dir, ignore_errors=True)  # a checkpoint of each setting would fill the disk
    measured = measurement.measured
    memory = measured.peak_memory_gib
    changes = {
        "outcome": "measured",
        "measured_step_time_s": measured.step_time_s,
        "tokens_per_s": measured.tokens_per_s_per_gpu,
        "measured_memory_bytes": None if memory is None else parse_quantity(f"{memory!r} GiB", BYTES),
    }
    return setting.model_copy(update=changes), measurement


def _ended(setting: SettingRecord, outcome: Outcome, note: str) -> SettingRecord:
    return setting.model_copy(update={"outcome": outcome, "note": note})


def _replace_setting(
    session: _Session, index: int, setting: SettingRecord, measurement: Measurement | None = None
) -> None:
    """Enters what became of a setting, and writes the session."""
    session.update(settings=(*session.record.settings[:index], setting, *session.record.settings[index + 1 :]))
    if measurement is not None:
        session.cases.append(measurement)
    session.write()


def _setting(stack: str, compiled: bool, number: int, option: Option) -> SettingRecord:
    estimate = option.estimate
    return SettingRecord(
        stack=stack,
        compiled=compiled,
        option=number,
        layout=option.layout.label(),
        micro_batch=option.layout.micro_batch,
        recompute=str(option.layout.recompute),
        predicted_step_time_s=estimate.step_time_s,
        low90_s=estimate.step_time_low90_s,
        high90_s=estimate.step_time_high90_s,
        predicted_memory_bytes=estimate.peak_memory_bytes - estimate.memory.reserve_bytes,
    )


def _alternating(groups: Sequence[Sequence[SettingRecord]]) -> Iterator[SettingRecord]:
    """The first of each group, then the second of each, and so on."""
    for row in itertools.zip_longest(*groups):
        yield from (setting for setting in row if setting is not None)


def _empty_record(
    device: DeviceUnderTest, scale: Scale, profile: Path, budget_s: float, seed: int, tools: Tools
) -> SessionRecord:
    return SessionRecord(
        date=tools.date,
        device=device.name,
        runtime=runtime_version(device.kind),
        glmplan_version=__version__,
        command=tools.command,
        model=scale.model,
        parameters=parameter_counts(load_architecture(scale.model)).total,
        precision=str(scale.precision),
        seq_len=scale.seq_len,
        global_batch=scale.global_batch,
        steps=scale.steps,
        seed=seed,
        budget_s=budget_s,
        seconds_used=0.0,
        profile=profile.name,
        allocator=None,
        settings=(),
    )


def _allocator_facts(device: DeviceUnderTest) -> dict[str, float] | None:
    """What the allocator takes, measured in a process of its own; None on a CPU."""
    if device.kind != "cuda":
        return None
    facts = run_on_ranks(
        measure_allocator,
        kind=device.kind,
        ranks=1,
        threads=device.threads,
        limit_s=ALLOCATOR_LIMIT_S,
        progress=_silent,
    )[0]
    return None if facts is None else facts.as_record()


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _silent(section: str, fraction: float) -> None:
    """Progress that nobody watches."""
