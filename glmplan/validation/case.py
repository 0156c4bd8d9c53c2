"""What a case means: the job, the layout, the machine and the stack that a measurement's record describes, or the
reason why it cannot be predicted. Nothing is guessed silently: every assumption is listed with the inputs.
"""

import math
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from glmplan.architecture.model_flops import model_flops_per_token
from glmplan.architecture.parameters import parameter_counts
from glmplan.documents import faults_of
from glmplan.errors import GlmplanError
from glmplan.hardware.cluster import Cluster
from glmplan.layout.parallel_layout import ContextKind, ParallelLayout
from glmplan.plan.measurement import Measurement
from glmplan.software.catalog import list_stacks, load_stack
from glmplan.validation.case_architecture import case_architecture
from glmplan.validation.case_cluster import case_cluster
from glmplan.validation.case_fields import Fields, Unusable
from glmplan.validation.case_layout import case_layout, case_precision, case_recipe
from glmplan.validation.case_rules import taken
from glmplan.validation.contradiction import contradictions, implausible, parameter_contradiction
from glmplan.validation.quantity import MemoryQuantity, TimeQuantity, memory_quantity, time_quantity
from glmplan.validation.stated_kernels import as_run
from glmplan.workload.job import TrainingJob

SOFTWARE_NAMES = "software_names.yaml"
_NOT_MODELLED = {"finetune-lora": "LoRA is", "hybrid": "state-space or sparse-attention layers are"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A case that is not predicted, and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One layout to estimate; a case is the weighted sum of its parts."""

    job: TrainingJob
    layout: ParallelLayout
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseInputs:
    """Everything a prediction needs, from the case's inputs alone, and what it is held against."""

    measurement: Measurement
    job: TrainingJob
    parts: tuple[Part, ...]
    """Two where the batch is not a whole number of micro-batches: the numbers below and above."""
    cluster: Cluster
    stack: str
    time: TimeQuantity | None
    memory: MemoryQuantity | None
    assumptions: tuple[str, ...]

    @property
    def id(self) -> str:
        """The case's id."""
        return self.measurement.id

    @property
    def trusted(self) -> bool:
        """Whether the case may enter a fit and the headline figures: pretraining, trust A or B, not suspect."""
        case = self.measurement
        return case.kind == "pretrain" and case.trust in ("A", "B") and case.suspect is None


def to_inputs(
    measurement: Measurement, *, stack: str | None = None, cluster: str | None = None
) -> CaseInputs | Skipped:
    """The inputs of ``measurement``, or why there are none.

    ``stack`` overrides what the record's software name means, ``cluster`` the profile that an own run names.
    """
    try:
        return _inputs(measurement, stack, cluster)
    except Unusable as reason:
        return Skipped(id=measurement.id, reason=str(reason))
    except ValidationError as error:
        reasons = "; ".join(f"{fault.field}: {fault.reason}" for fault in faults_of(error, {}))
        return Skipped(id=measurement.id, reason=f"contradictory: {reasons}")
    except GlmplanError as error:
        return Skipped(id=measurement.id, reason=str(error).replace("\n", "; "))


def _inputs(measurement: Measurement, stack: str | None, profile: str | None) -> CaseInputs:
    _refuse_unmodelled(measurement)
    _refuse_contradictory(contradictions(measurement))
    if measurement.missing:
        raise Unusable(f"the source does not state: {', '.join(measurement.missing)}")
    fields = Fields.of(measurement)
    stack = stack or _stack(measurement, fields)
    as_run(load_stack(stack), measurement)
    architecture = case_architecture(measurement, fields)
    layout, global_batch = case_layout(measurement, fields)
    if layout.cp > 1:
        layout = layout.model_copy(update={"context": ContextKind(load_stack(stack).support.context[0])})
    job = TrainingJob(
        architecture=architecture,
        seq_len=fields.whole("seq_len"),
        global_batch=global_batch,
        precision=case_precision(fields),
        fp8_recipe=case_recipe(measurement),
    )
    _refuse_contradictory(parameter_contradiction(measurement, parameter_counts(architecture).total))
    cluster = case_cluster(measurement, fields, layout, profile)
    peak = cluster.device.peak_flops_per_s(job.precision)
    time = time_quantity(measurement, job, gpus=layout.world_size, peak_flops_per_s=peak)
    memory = memory_quantity(measurement)
    if time is None and memory is None:
        raise Unusable("only FLOP/s or MFU is given and the source's formula is not known")
    _refuse_contradictory(
        implausible(
            measurement,
            step_time_s=None if time is None else time.step_time_s,
            model_flops=model_flops_per_token(architecture, job.seq_len, causal_half=True).total * job.tokens_per_step,
            peak_flops_per_s=peak,
            capacity_bytes=cluster.device.memory_capacity.value,
        )
    )
    return CaseInputs(
        measurement=measurement,
        job=job,
        parts=_parts(job, layout),
        cluster=cluster,
        stack=stack,
        time=time,
        memory=memory,
        assumptions=tuple(fields.assumptions),
    )


def _refuse_unmodelled(measurement: Measurement) -> None:
    layout = measurement.layout
    if measurement.kind in _NOT_MODELLED:
        raise Unusable(f"{_NOT_MODELLED[measurement.kind]} not modelled (kind: {measurement.kind})")
    if layout.get("peft"):
        raise Unusable(f"layout.peft: {layout['peft']} is not modelled")


def _refuse_contradictory(found: list[str]) -> None:
    if found:
        raise Unusable(f"contradictory: {'; '.join(found)}")


def _stack(measurement: Measurement, fields: Fields) -> str:
    rule = taken(SOFTWARE_NAMES, "stack", measurement).get("stack")
    own = "cluster" in measurement.hardware
    if measurement.software in list_stacks() and (own or rule is None):
        # An own run means our preset; a publication's "torchtitan" may be either of two.
        return measurement.software
    if rule is None:
        raise Unusable(f"software: no stack is known for {measurement.software!r}; name one with --stack")
    fields.assume("stack", rule)
    return str(rule.value)


def _parts(job: TrainingJob, layout: ParallelLayout) -> tuple[Part, ...]:
    """The layout, or the two around a fractional number of micro-batches, whose last one is a smaller one."""
    count = job.global_batch / (layout.dp * layout.micro_batch)
    share = count - math.floor(count)
    if share == 0:
        return (Part(job=job, layout=layout, weight=1.0),)
    return tuple(
        _part(job, layout, accum, w) for accum, w in ((math.floor(count), 1 - share), (math.ceil(count), share))
    )


def _part(job: TrainingJob, layout: ParallelLayout, grad_accum: int, weight: float) -> Part:
    update: dict[str, Any] = {"grad_accum": grad_accum}
    whole = layout.model_copy(update=update)
    return Part(job=job.model_copy(update={"global_batch": whole.global_batch}), layout=whole, weight=weight)
