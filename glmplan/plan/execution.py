"""How the trainer carries a layout out, in what the cost model does not see; and a plan's measured tuning."""

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from glmplan.plan.measurement import Measurement
from glmplan.units import format_seconds


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Execution(_Record):
    """Settings that change neither the loss nor the layout's degrees, only how fast a step is."""

    compile_model: bool | None = None
    """torch.compile of each layer; none: as the plan's stack."""
    threads: PositiveInt | None = None
    """Intra-operator threads of each rank on CPUs; none: the cores shared equally among the ranks."""
    reshard_after_forward: bool | None = None
    """Whether gathered parameters are freed between forward and backward; none: as the layout's sharding says."""
    layers_per_bucket: PositiveInt = 1
    """Layers gathered and reduced together (FSDP2's unit of communication)."""
    prefetch_layers: NonNegativeInt = 0
    """Units gathered ahead of use, forward and backward; 0: FSDP2's own order, one ahead in the backward pass."""
    loader_threads: NonNegativeInt = 0
    """Threads that read the next steps' tokens while a step runs; 0: read when needed."""

    def label(self) -> str:
        """Only what differs from the default, such as ``compiled bucket2 loader1``; empty for the default."""
        parts = [] if self.compile_model is None else ["compiled" if self.compile_model else "eager"]
        parts += [f"threads{self.threads}"] if self.threads is not None else []
        if self.reshard_after_forward is not None:
            parts.append("reshard" if self.reshard_after_forward else "keep-gathered")
        parts += [f"bucket{self.layers_per_bucket}"] if self.layers_per_bucket > 1 else []
        parts += [f"prefetch{self.prefetch_layers}"] if self.prefetch_layers else []
        parts += [f"loader{self.loader_threads}"] if self.loader_threads else []
        return " ".join(parts)


class Gain(_Record):
    """What the tuned settings gained over the starting plan: runs of both in turn, compared pair by pair."""

    fraction: float
    """Step time saved over the start's; the geometric mean of the pairs."""
    low90_fraction: float
    high90_fraction: float
    """Student's t interval of the pairs' mean; it must stay above 0 for a gain to be believed."""
    pairs: PositiveInt
    noise_fraction: float = Field(ge=0)
    """Run-to-run spread of one and the same setting: (largest - smallest) / 2 / median, the larger of both."""

    @property
    def believed(self) -> bool:
        """Whether the whole interval is a gain."""
        return self.low90_fraction > 0


class Tuning(_Record):
    """A plan's measured tuning: the settings that were kept, and what they were kept for."""

    study: str
    trials: dict[str, NonNegativeInt]
    """Number of trials by how they ended: finished, pruned, out of memory, crashed, timed out."""
    execution: Execution
    measurement: Measurement
    """Of the kept settings."""
    start_step_time_s: float | None = Field(gt=0)
    """Of the starting plan: the median of its confirmation runs, else its trial's; None when it did not run here."""
    gain: Gain | None = None
    """None when the starting plan itself was the best trial."""
    made_by: str

    def sentence(self) -> str:
        """What was kept and why, with the noise."""
        step_s = self.measurement.measured.step_time_s
        took = "" if step_s is None else f", measured at {format_seconds(step_s)} a step"
        if self.start_step_time_s is None:
            return f"Measured tuning: the plan as it was did not run here; the best setting that ran was kept{took}."
        if self.gain is None:
            return f"Measured tuning kept the plan as it was{took}: no faster setting was confirmed."
        gain = self.gain
        change = f"{gain.fraction:+.1%} ({gain.low90_fraction:+.1%} to {gain.high90_fraction:+.1%})"
        pairs = f"{gain.pairs} pairs of runs in turn, with {gain.noise_fraction:.1%} noise from run to run"
        if gain.believed:
            return f"Measured tuning saved {change} of the step time{took}; {pairs}."
        return f"Measured tuning kept the plan as it was: the best trial's {change} may be noise; {pairs}."
