"""A GPU session with a fake trainer and planner: order, budget, failures, and what is written when."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from glmplan.cost.estimate import Grade, MemoryBreakdown, StepEstimate, TimeBreakdown
from glmplan.documents import Json
from glmplan.errors import DoesNotFit, GlmplanError, NoData
from glmplan.layout.parallel_layout import ParallelLayout, Recompute
from glmplan.plan.document import ClusterSummary, Option, Plan, Provenance, SearchSummary
from glmplan.plan.measurement import MeasuredValues, Measurement, write_measurement
from glmplan.plan.request import PlanRequest
from glmplan.probe.gpu_record import SessionRecord, SettingRecord
from glmplan.probe.gpu_report import accuracy_lines
from glmplan.probe.gpu_scale import TOY, plan_request
from glmplan.probe.gpu_session import Tools, run_gpu_session

GIB = 2.0**30
SCALE = replace(TOY, micro_batches=(1, 2, 4), most_settings=9, stacks=(("glmplan-compiled", True), ("glmplan", False)))


def fake_probe(seconds: float, seed: int, folder: Path) -> Json:
    """A profile of one CPU share, in the form that the probe writes."""

    def fact(value: object) -> Json:
        return {"value": value, "source": "probe", "how": "measured"}

    return {
        "name": "this-machine",
        "device": {
            "name": "cpu-1threads",
            "vendor": "unknown",
            "runtime": "cpu",
            "peak_flops": {"fp32": fact("100 GFLOP/s")},
            "memory_capacity": fact("4 GiB"),
            "memory_bandwidth": fact("10 GB/s"),
        },
        "node": {"name": "this-node", "device": "cpu-1threads", "devices": fact(1)},
        "measurements": {
            "matmul": {
                "dtype": ["fp32", "fp32"],
                "m": [64, 128],
                "n": [64, 128],
                "k": [64, 128],
                "seconds": [1e-5, 5e-5],
            },
            "memory_copy": {"bytes": [1e6], "seconds": [2e-4]},
            "host_launch_s": 8e-6,
        },
        "sources": {"probe": {"title": "glmplan probe on this machine"}},
    }


def estimate(step_time_s: float) -> StepEstimate:
    time = dict.fromkeys(TimeBreakdown.model_fields, 0.0) | {"forward_s": step_time_s}
    memory = dict.fromkeys(MemoryBreakdown.model_fields, 0.0) | {"activations_bytes": 2 * GIB, "reserve_bytes": GIB}
    return StepEstimate(
        step_time_s=step_time_s,
        step_time_low90_s=step_time_s * 0.8,
        step_time_high90_s=step_time_s * 1.2,
        tokens_per_s=1.0,
        tokens_per_s_per_gpu=1.0,
        mfu=0.5,
        hfu=0.5,
        model_flops=1.0,
        peak_memory_bytes=3 * GIB,
        peak_memory_low90_bytes=2.9 * GIB,
        peak_memory_high90_bytes=3.2 * GIB,
        memory_capacity_bytes=4 * GIB,
        memory=MemoryBreakdown(**memory),
        time=TimeBreakdown(**time),
        grade=Grade.CALIBRATED,
    )


def fake_plan(request: PlanRequest) -> Plan:
    """A plan with one option for each micro-batch and recomputation asked for; the larger, the faster."""
    assert request.choices.micro_batch is not None and request.choices.recompute is not None
    options = [
        Option(
            layout=ParallelLayout(
                micro_batch=size, grad_accum=request.job.global_batch // size, recompute=Recompute(recompute)
            ),
            estimate=estimate(0.1 / size + (0.05 if recompute == "full" else 0.0)),
        )
        for size in request.choices.micro_batch
        for recompute in request.choices.recompute
    ]
    options.sort(key=lambda option: option.estimate.step_time_s)
    return Plan(
        request=request,
        cluster=ClusterSummary(
            name="this-machine",
            device="cpu-1threads",
            device_kind="cpu",
            devices_per_node=1,
            num_nodes=1,
            memory_capacity_bytes=4 * GIB,
            peak_flops_per_s=1e11,
        ),
        search=SearchSummary(considered=6, feasible=6, rejected={}, optimal=True, gap=0.0),
        chosen=options[0],
        alternatives=tuple(options[1:]),
        provenance=Provenance(glmplan_version="0", profiles={}, seed=0, assumptions=()),
    )


@dataclass
class FakeTraining:
    """Takes ``wall_s`` of a clock that only it moves; steps are 25 % slower than planned."""

    wall_s: float = 1.0
    fail: Callable[[int, bool], GlmplanError | None] = lambda option, compiled: None
    now_s: float = 0.0
    calls: list[tuple[int, bool]] = field(default_factory=list)

    def __call__(self, plan_path: Path, out_dir: Path, *, steps: int, option: int, compiled: bool, seed: int) -> None:
        self.calls.append((option, compiled))
        self.now_s += self.wall_s
        if (error := self.fail(option, compiled)) is not None:
            raise error
        plan = Plan.model_validate_json(plan_path.read_text())
        chosen = (plan.chosen, *plan.alternatives)[option]
        values = MeasuredValues(
            step_time_s=chosen.estimate.step_time_s * 1.25, tokens_per_s_per_gpu=500.0, peak_memory_gib=1.6
        )
        measurement = Measurement(
            id="x", source={}, software="glmplan", model={}, hardware={}, layout={}, measured=values
        )
        write_measurement(measurement, out_dir / "measurement.json")

    def clock(self) -> float:
        return self.now_s


def run(tmp_path: Path, training: FakeTraining, *, budget_s: float = 1e6, **changes: object) -> SessionRecord:
    tools = Tools(
        probe=fake_probe,
        plan=fake_plan,
        train=training,
        say=lambda line: None,
        date="2026-01-01",
        command="glmplan gpu",
        clock=training.clock,
    )
    tools = replace(tools, **changes)  # type: ignore[arg-type]
    report = run_gpu_session(out=tmp_path, scale=SCALE, budget_s=budget_s, seed=0, tools=tools)
    assert report.read_text().startswith("# GPU session: ")
    return SessionRecord.model_validate(json.loads(report.with_suffix(".json").read_text()))


def test_every_setting_is_trained_stacks_alternating(tmp_path: Path) -> None:
    training = FakeTraining()
    record = run(tmp_path, training)
    assert training.calls == [(option, compiled) for option in range(5) for compiled in (True, False)][:9]
    assert {setting.outcome for setting in record.settings} == {"measured"}
    (cases,) = tmp_path.glob("gpu-*.jsonl")
    assert len(cases.read_text().splitlines()) == len(record.settings) == SCALE.most_settings


def test_errors_are_predicted_over_measured_less_one(tmp_path: Path) -> None:
    setting = run(tmp_path, FakeTraining()).settings[0]
    assert setting.time_error == pytest.approx(1 / 1.25 - 1)
    assert setting.predicted_memory_bytes == 2 * GIB  # without the reserve
    assert setting.memory_error == pytest.approx(2 / 1.6 - 1)


def test_nothing_is_started_that_would_not_end_in_time(tmp_path: Path) -> None:
    training = FakeTraining(wall_s=100.0)
    record = run(tmp_path, training, budget_s=250.0)
    assert len(training.calls) == 2
    assert [setting.outcome for setting in record.settings[:3]] == ["measured", "measured", "not started"]
    assert record.settings[2].note == "no time left for it"


def test_running_out_of_memory_costs_only_that_setting(tmp_path: Path) -> None:
    training = FakeTraining(fail=lambda option, compiled: DoesNotFit("full") if option == 0 else None)
    record = run(tmp_path, training)
    assert [setting.outcome for setting in record.settings[:3]] == ["out of memory", "out of memory", "measured"]


def test_a_failed_training_is_reported_with_its_reason(tmp_path: Path) -> None:
    training = FakeTraining(fail=lambda option, compiled: GlmplanError("no compiler") if compiled else None)
    record = run(tmp_path, training)
    assert {(s.outcome, s.note) for s in record.settings if s.compiled} == {("failed", "no compiler")}
    assert {s.outcome for s in record.settings if not s.compiled} == {"measured"}


def test_without_a_plan_the_probe_is_reported_all_the_same(tmp_path: Path) -> None:
    def no_plan(request: PlanRequest) -> Plan:
        raise NoData("nothing known")

    record = run(tmp_path, FakeTraining(), plan=no_plan)
    assert record.settings == ()
    assert record.notes[0] == "No plan for the stack glmplan-compiled: nothing known"


def test_a_session_that_is_cut_off_keeps_what_it_has(tmp_path: Path) -> None:
    class CutOff(FakeTraining):
        def __call__(self, *arguments: Path, **options: object) -> None:  # type: ignore[override]
            if len(self.calls) == 2:
                raise KeyboardInterrupt
            super().__call__(*arguments, **options)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, CutOff())
    (record,) = tmp_path.glob("gpu-*.json")
    outcomes = [setting["outcome"] for setting in json.loads(record.read_text())["settings"]]
    assert outcomes[:3] == ["measured", "measured", "not started"]
    assert record.with_suffix(".md").exists()


def test_the_request_asks_for_one_device_and_every_choice() -> None:
    request = plan_request(SCALE, "machine.yaml", "glmplan")
    assert (request.num_gpus, request.top) == (1, 6)
    assert request.job.global_batch % max(SCALE.micro_batches) == 0


def setting(predicted_s: float, measured_s: float) -> SettingRecord:
    return SettingRecord(
        stack="glmplan",
        compiled=False,
        option=0,
        layout=f"mb {predicted_s}",
        micro_batch=1,
        recompute="none",
        predicted_step_time_s=predicted_s,
        low90_s=predicted_s * 0.85,
        high90_s=predicted_s * 1.15,
        predicted_memory_bytes=GIB,
        outcome="measured",
        measured_step_time_s=measured_s,
    )


def test_accuracy_is_counted_by_hand() -> None:
    lines = accuracy_lines([setting(0.9, 1.0), setting(1.0, 0.8), setting(3.0, 2.0)])
    # errors -10 %, +25 %, +50 %; the pick (0.9 predicted) took 1.0 where 0.8 was possible
    assert "mean absolute error 28.3%, bias +21.7%, worst +50.0%; 1 of 3 inside" in lines[0]
    assert lines[-1].endswith("picking by prediction costs 25.0%.")


def test_without_measurements_there_is_no_accuracy() -> None:
    assert accuracy_lines([]) == ["No setting was measured."]
