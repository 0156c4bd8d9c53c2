"""A finished run as a measurement, in the form of the published cases."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from glmplan.plan.measurement import MeasuredValues, Measurement
from glmplan.train.run_record import COMPILED_STACK, TrainingRun
from glmplan.units import BYTES

EAGER_STACK = "glmplan"


def run_measurement(
    run: TrainingRun,
    *,
    device_kind: str,
    device_name: str,
    step_times_s: Sequence[float],
    peak_memory_bytes: int,
    notes: str,
) -> Measurement:
    """The median of ``step_times_s`` and the peak of the fullest rank, with everything they depend on."""
    job, layout, cluster = run.job, run.layout, run.plan.cluster
    step_time_s = statistics.median(step_times_s)
    software = _software(run)
    as_planned = device_kind == ("cuda" if cluster.device_kind == "rocm" else cluster.device_kind)
    profile = Path(run.plan.request.cluster)
    hardware = {
        "gpu": cluster.device if as_planned else device_name,
        "gpus": layout.world_size,
        "gpus_per_node": min(cluster.devices_per_node, layout.world_size) if as_planned else layout.world_size,
    }
    if as_planned:
        hardware["cluster"] = str(profile.resolve()) if profile.is_file() else run.plan.request.cluster
    sweep = (
        f"{job.architecture.name} seq{job.seq_len} {hardware['gpu']} x{layout.world_size} {job.precision} {software}"
    )
    configuration = f"{sweep} {layout.label()} ga{layout.grad_accum}"
    return Measurement(
        id=configuration,
        source={"title": "glmplan training run", "where": run.directory.name, "how": "table"},
        software=software,
        model=job.architecture.model_dump(mode="json"),
        seq_len=job.seq_len,
        hardware=hardware,
        layout=layout.model_dump(mode="json")
        | {
            "global_batch": job.global_batch,
            "precision": str(job.precision),
            "compile": run.settings.compile_model,
            "optimizer": str(job.optimizer),
            "flash_attention": True,
        },
        measured=MeasuredValues(
            step_time_s=step_time_s,
            tokens_per_s_per_gpu=job.tokens_per_step / step_time_s / layout.world_size,
            peak_memory_gib=peak_memory_bytes / BYTES.scales["GiB"],
        ),
        configuration=configuration,
        sweep=sweep,
        notes=notes,
    )


def _software(run: TrainingRun) -> str:
    """The plan's stack, unless the run was compiled where the plan was not, or the other way round."""
    planned = run.plan.request.stack
    if planned in (EAGER_STACK, COMPILED_STACK):
        return COMPILED_STACK if run.settings.compile_model else EAGER_STACK
    return planned
