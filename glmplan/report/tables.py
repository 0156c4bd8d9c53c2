"""Tables without a chart: the best layouts, the chosen layout's fields, rejections, runs, assumptions, profiles."""

from statistics import median

from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.plan.document import Plan
from glmplan.plan.error_bars import memory_bar, price_bar, step_time_bar
from glmplan.report.comparison import match_run
from glmplan.report.content import Table
from glmplan.report.run_folder import Run
from glmplan.report.wording import dollars, percent, rate, share, signed_bytes, signed_percent, switch
from glmplan.units import format_bytes, format_seconds

FIELD_NAMES: dict[str, str] = {
    "tp": "Tensor parallel",
    "cp": "Context parallel",
    "context": "What context-parallel ranks exchange",
    "pp": "Pipeline parallel",
    "virtual_stages": "Model chunks per pipeline rank",
    "ep": "Expert parallel",
    "expert_tp": "Tensor parallel of the experts",
    "dp": "Data parallel",
    "sharding": "Sharding",
    "shard_group": "Ranks in a shard group",
    "micro_batch": "Micro-batch, sequences",
    "grad_accum": "Micro-batches per step",
    "recompute": "Recomputation",
    "recompute_layers": "Layers of a stage that are recomputed",
    "stage_layers": "Layers of each model chunk",
    "stage_recompute_layers": "Layers of each stage that are recomputed",
    "schedule": "Pipeline schedule",
    "sequence_parallel": "Sequence parallel",
    "offload": "Offload to the host",
}


def job_table(plan: Plan) -> Table:
    """What to train, on what."""
    job, cluster, layout = plan.request.job, plan.cluster, plan.chosen.layout
    rows = [
        ("Model", job.architecture.name),
        ("Devices", f"{layout.world_size:,} × {cluster.device}"),
        ("Cluster", f"{cluster.name}, {cluster.num_nodes:,} nodes of {cluster.devices_per_node}"),
        ("Software stack", plan.request.stack),
        ("Sequence length", f"{job.seq_len:,} tokens"),
        ("Global batch", f"{job.global_batch:,} sequences, {job.tokens_per_step:,} tokens a step"),
        ("Precision", str(job.precision)),
        ("Optimizer", str(job.optimizer)),
    ]
    if job.tokens is not None:
        rows.append(("Tokens of the run", f"{job.tokens:,.0f}"))
    return Table(caption="Job", headers=("Setting", "Value"), rows=tuple(rows))


def layout_table(plan: Plan) -> Table:
    """Each field of the chosen layout."""
    layout = plan.chosen.layout
    given = {field: getattr(layout, field) for field in ParallelLayout.model_fields}
    rows = tuple((FIELD_NAMES[field], switch(value)) for field, value in given.items() if value is not None)
    return Table(caption="Layout", headers=("Setting", "Value"), rows=rows)


def layouts_table(plan: Plan) -> Table:
    """The chosen layout and the alternatives, best first."""
    chosen_s = plan.chosen.estimate.step_time_s
    rows = []
    for rank, option in enumerate((plan.chosen, *plan.alternatives), start=1):
        estimate = option.estimate
        price = estimate.usd_per_billion_tokens
        rows.append(
            (
                str(rank),
                option.layout.label(),
                format_seconds(estimate.step_time_s),
                step_time_bar(estimate),
                signed_percent(share(estimate.step_time_s - chosen_s, chosen_s)) if rank > 1 else "chosen",
                rate(estimate.tokens_per_s_per_gpu),
                percent(estimate.mfu),
                format_bytes(estimate.peak_memory_bytes),
                memory_bar(estimate),
                signed_bytes(estimate.memory_capacity_bytes - estimate.peak_memory_bytes),
                "-" if price is None else dollars(price),
                price_bar(estimate) or "-",
            )
        )
    headers = (
        "#",
        "Layout",
        "Step time",
        "90 % interval",
        "Against chosen",
        "Tokens/s per device",
        "MFU",
        "Peak memory",
        "90 % interval of memory",
        "Free",
        "$ per billion tokens",
        "90 % interval of $",
    )
    return Table(
        caption="Best layouts", headers=headers, rows=tuple(rows), numeric=(0, *range(2, len(headers))), marked=0
    )


def rejected_table(plan: Plan) -> Table:
    """Why layouts were rejected, the most frequent reason first."""
    rejected = sorted(plan.search.rejected.items(), key=lambda item: (-item[1], item[0]))
    rows = tuple((reason, f"{number:,}", percent(share(number, plan.search.considered))) for reason, number in rejected)
    return Table(
        caption="Rejected layouts", headers=("Reason", "Layouts", "Of those considered"), rows=rows, numeric=(1, 2)
    )


def runs_table(plan: Plan, runs: tuple[Run, ...]) -> Table:
    """The runs, what they logged, and which layout of the plan each one trained."""
    rows = []
    for run in runs:
        match, measurement = match_run(plan, run), run.measurement
        losses = [step.loss for step in run.steps if step.loss is not None]
        times = [step.step_time_s for step in run.steps if step.step_time_s is not None]
        rows.append(
            (
                run.name,
                f"layout {match.rank}" if match.option else match.reason,
                "-" if measurement is None else str(measurement.hardware.get("gpu", "-")),
                "-" if measurement is None else measurement.software,
                f"{len(run.steps):,}",
                f"{losses[0]:.4f} to {losses[-1]:.4f}" if losses else "-",
                f"{format_seconds(min(times))}, {format_seconds(median(times))}, {format_seconds(max(times))}"
                if times
                else "-",
            )
        )
    headers = ("Run", "Trained", "Device", "Software", "Steps", "Loss", "Step time: least, median, most")
    return Table(caption="Runs", headers=headers, rows=tuple(rows), numeric=(4,))


def assumptions_table(plan: Plan) -> Table:
    """The numbers that the estimate rests on."""
    rows = tuple((item.name, item.value, item.grade, item.source) for item in plan.provenance.assumptions)
    return Table(caption="Assumptions", headers=("What", "Value", "Grade", "Source"), rows=rows)


def profiles_table(plan: Plan) -> Table:
    """Profiles and presets that were read, with the hash of their content."""
    rows = tuple(sorted(plan.provenance.profiles.items()))
    return Table(caption="Profiles and presets", headers=("Profile", "SHA-256"), rows=rows)
