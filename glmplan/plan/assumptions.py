"""What a prediction takes for granted because nothing measured supports it, in sentences.

``provenance.assumptions`` lists every number with its grade; here stands only what a reader must know before spending
money on the plan, the weightiest first.
"""

from glmplan.cost.device_surfaces import TABLE_FORMATS
from glmplan.cost.estimate import Grade, StepEstimate
from glmplan.cost.extrapolation import matmuls_outside
from glmplan.cost.grade import generation_of, same_generation
from glmplan.cost.interval import load_intervals, work_of
from glmplan.cost.step import CostModel
from glmplan.hardware.cluster import Cluster
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout
from glmplan.precision import PEAK_KEY, activation_precision

_WORTH_SAYING = 0.01
"""Share of the matmul FLOPs outside the measured shapes from which it is said."""
_UNSUPPORTED = ("assumed", "recalled")


def flagged_assumptions(model: CostModel, layout: ParallelLayout, estimate: StepEstimate) -> tuple[str, ...]:
    """The sentences for ``layout`` as costed by ``model``; empty when everything it rests on was measured."""
    return (
        *_stack(model, estimate),
        *_kernels(model),
        *_shapes(model, layout),
        *_links(model.cluster, layout),
        *_figures(model),
        *_interval(model, estimate),
        *_price(model.cluster, estimate),
    )


def _stack(model: CostModel, estimate: StepEstimate) -> list[str]:
    if estimate.grade is Grade.CALIBRATED:
        return []
    return [
        f"{model.stack.name} was never measured on {model.cluster.device.name}: its constants are the preset's priors."
    ]


def _kernels(model: CostModel) -> list[str]:
    measured, device = model.cluster.measured, model.cluster.device
    precision = model.job.precision
    found = []
    tables = (measured.matmul_table(name) for name in TABLE_FORMATS.get(precision, (str(precision),)))
    matmul = next((table for table in tables if table is not None), None)
    if matmul is None:
        found.append(f"No {precision} matmul of {device.name} or a device like it was measured: a flat share of peak.")
    elif matmul.grade == "borrowed":
        found.append(f"{precision} matmuls were measured on {matmul.device}, {_kinship(model, matmul.device)}.")
    attention = measured.attention_table(str(activation_precision(precision)))
    if attention is None:
        found.append(f"No attention kernel of {device.name} or a device like it was measured: the roofline stands in.")
    elif attention.grade == "borrowed" and (matmul is None or attention.device != matmul.device):
        found.append(f"Attention was measured on {attention.device}, {_kinship(model, attention.device)}.")
    return found


def _kinship(model: CostModel, lender: str) -> str:
    device = model.cluster.device
    if same_generation(device, lender):
        return (
            f"of the same generation as {device.name} ({generation_of(device.architecture)}), scaled by the datasheets"
        )
    return f"another generation than {device.name}, scaled by the datasheets"


def _shapes(model: CostModel, layout: ParallelLayout) -> list[str]:
    outside = matmuls_outside(model, LayoutTable.of(layout))
    if outside.flops_fraction < _WORTH_SAYING:
        return []
    shape = " x ".join(f"{size:,}" for size in outside.largest)
    return [
        f"{outside.flops_fraction:.0%} of the matmul FLOPs have shapes outside the measured table (the largest,"
        f" m x n x k: {shape}): the table's border stands in."
    ]


def _links(cluster: Cluster, layout: ParallelLayout) -> list[str]:
    if layout.world_size == 1:
        return []
    found = []
    inside = cluster.measured.collective_table()
    if inside is None:
        found.append("No collective inside the node was measured: latency and wire rate stand in.")
    elif inside.grade == "borrowed":
        found.append(f"Collectives inside the node were measured on {inside.device}, not on {cluster.device.name}.")
    if layout.world_size > cluster.tiers[0].span_devices:
        found.append("Between nodes collectives reach a share of the wire rate that was measured on other fabrics.")
    return found


def _figures(model: CostModel) -> list[str]:
    precision = model.job.precision
    used = {f"dense {PEAK_KEY[p]} peak" for p in (precision, activation_precision(precision))}
    return [
        f"The {fact.name} ({fact.value}) is {fact.grade}, not read from a source: {fact.source}."
        for fact in model.cluster.facts
        if fact.grade in _UNSUPPORTED and (" peak" not in fact.name or any(fact.name.endswith(name) for name in used))
    ]


def _interval(model: CostModel, estimate: StepEstimate) -> list[str]:
    shipped, work = load_intervals(), work_of(model.job)
    found = []
    if shipped.step_time[estimate.grade][work].measurements == 0:
        found.append(f"The error bar of the step time is assumed: no {estimate.grade} run of this kind was measured.")
    if shipped.memory["allocated"][estimate.grade].measurements == 0:
        found.append("The error bar of the memory is assumed: no run of this grade was measured.")
    return found


def _price(cluster: Cluster, estimate: StepEstimate) -> list[str]:
    price = cluster.usd_per_device_hour
    if price is None or estimate.usd_per_billion_tokens is None:
        return []
    if price.how in _UNSUPPORTED:
        return [f"The price of a device-hour ({price.value:g} USD) is {price.how}: {price.source}."]
    if cluster.node.priced_like is not None:
        return [f"No price of {cluster.node.name} is known; that of a like node stands in: {price.note}."]
    return []
