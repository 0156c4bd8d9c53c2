"""The software stack: which kernels are fused, what overlaps, what a launch costs the host, what memory holds.

Three layers of figures, never mixed: the *kernel set* (what the code executes), *constants* (the few numbers that
measurements fit) and *memory policy*. Machines and models do not appear here.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, model_validator

from glmplan.errors import InputError
from glmplan.precision import Recipe
from glmplan.software.experts import ExpertKernels
from glmplan.software.quantisation_kernels import Library
from glmplan.units import Bytes


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


RecomputedModule = Literal["core_attn", "mla_up_proj", "layernorm", "moe_act", "mlp"]


class Kernels(_Record):
    """What the stack executes for one layer."""

    attention: Literal["flash", "cudnn", "flash3", "flash2", "triton", "flash1", "unfused"]
    """``unfused`` writes the score matrix to memory; the others do not (Dao 2022, arXiv:2205.14135). ``flash`` is the
    best kernel of the device, the others are generations of their own (``attention_kernels.yaml``)."""
    fused_permute: bool = True
    """Tokens move to their experts and back in one pass each; otherwise by gathers and scatters of PyTorch's own."""
    cuda_graph: Literal["none", "partial", "full"] = "none"
    """How much of a layer's launches is captured once and replayed."""
    dropout: bool = False
    """Masks after attention, projection and MLP (GPT-3 era recipes)."""
    fused_gated_activation: bool = False
    """The gate, its product and their backward are one kernel that keeps its two inputs only."""
    fused_norm: bool = True
    """The norm keeps its input and row statistics only; an unfused one keeps fp32 copies as well."""
    saves_gathered_input: bool = False
    """Under sequence parallelism, column-parallel layers keep the gathered input instead of gathering again."""
    selective: Literal["attention", "every_second_matmul"] = "attention"
    """What selective recomputation keeps: all but the attention core (Korthikanti 2022, section 5), or the outputs of
    attention and of every second matmul only (torchtitan, arXiv:2410.06511, section 2.2.1)."""
    selective_modules: tuple[RecomputedModule, ...] = ("core_attn",)
    """With ``selective`` attention: what is repeated, by Megatron-Core's names (``--recompute-modules``)."""
    keeps_unneeded_outputs: bool = False
    """Recomputation by operator saves outputs that no backward pass reads; a compiler drops them."""
    experts: ExpertKernels = ExpertKernels()
    quantisation: Library = "transformer-engine"
    """Whose kernels quantise the operands of 8- and 4-bit matmuls (``quantisation.yaml``)."""
    fp8_recipe: Recipe = Recipe.DELAYED
    """How tensors are scaled to fp8 where a job does not say."""
    recompute_stops_early: bool = False
    """Full recomputation ends with the last tensor that the backward pass reads: a layer's last matmul is not repeated
    (``torch.utils.checkpoint`` without reentrance, ``early_stop``)."""
    separate_projections: bool = False
    """Query, key and value, gate and up are matmuls of their own: their input gradients are added up, so that no matmul
    ends in what tensor parallelism reduces."""
    copies_gathered: bool = False
    """Tensors have the batch first, and tensor parallelism gathers and scatters their second dimension: what is
    received is joined, and what is sent is cut, by a copy (PyTorch, ``_functional_collectives``)."""
    async_tp: bool = False
    """Tensor-parallel collectives run piece by piece, each beside the matmul of another piece (PyTorch's
    ``_micro_pipeline_tp``, Transformer Engine's user buffers; Wang 2023, ASPLOS, doi:10.1145/3567955.3567959)."""
    serial_tp: bool = False
    """A recipe switches the overlap of tensor-parallel collectives off that the stack's constant counts on: all of
    their time is seen."""
    fused_loss: bool = False
    """Logits and loss are computed in chunks, so that fp32 logits never exist as a whole."""


class Constant(_Record):
    """A number that measurements may fit, with the prior that holds until they do."""

    value: PositiveFloat
    low: PositiveFloat
    high: PositiveFloat
    sigma_log: PositiveFloat
    """How far, in logarithm, a fit may drift for one standard deviation of penalty."""
    meaning: str

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"value must lie between low {self.low} and high {self.high}; got {self.value}")
        return self


HOST_SHARE = {"none": 1.0, "partial": 0.6, "full": 0.02}
"""CUDA-graph class -> share of the host's launch cost that remains: a replay launches once, and attention, routing or
the optimizer stay outside a partial graph."""

CONSTANT_MEANINGS = {
    "machine_derate": "seconds of everything on this machine over those of the machine whose tables are used",
    "matmul_time_factor": "seconds of a matmul in training over those of the measured table",
    "attention_time_factor": "seconds of the attention forward over those of the measured table",
    "attention_backward_factor": "seconds of the attention backward over those that the kernel's published ratio gives",
    "elementwise_traffic_factor": "bytes moved by norms, activations and residuals over those of ideal fused kernels",
    "host_launches_per_layer": "kernels that the host launches for one layer's forward pass",
    "host_launches_per_expert": "further kernels that the host launches for each local expert of a layer",
    "host_launches_per_transfer": "kernel launches that take the host as long as one message between stages does",
    "host_launches_per_update": "kernels that the host launches for the optimizer step of one layer",
    "host_launch_s": "seconds the host takes for one launch, where the machine's own was not measured",
    "host_backward_factor": "host seconds of the backward pass over the forward pass",
    "tensor_parallel_exposed": "share of tensor-parallel communication that compute does not hide",
    "context_parallel_exposed": "share of what travels during attention that attention does not hide at best",
    "expert_parallel_exposed": "share of token exchange between experts that compute does not hide",
    "data_parallel_exposed": "share of gradient and parameter communication that compute does not hide at best",
    "pipeline_exposed": "share of stage-to-stage transfers that compute does not hide",
    "collective_time_factor": "seconds of a collective in training over those of the measured table",
    "optimizer_bytes_per_parameter": "bytes moved per parameter by the optimizer step and gradient clipping",
    "device_spread": "standard deviation of a device's compute time among devices of one kind, relative to the mean",
    "fixed_step_s": "seconds of a step that depend on nothing else: data, logging, synchronisation",
}


class MemoryPolicy(_Record):
    """What a rank keeps for each parameter, and what the stack takes for itself."""

    parameter_bytes: PositiveFloat
    """Of the stored parameter where it is the optimizer's master; beside a main copy it has the compute format."""
    main_parameter_bytes: NonNegativeFloat
    """Of a separate fp32 copy for the optimizer; 0 when the stored parameter is it."""
    optimizer_state_bytes: NonNegativeFloat | None = None
    """Of the optimizer's state beside the main copy, where the stack keeps it in fewer bytes than fp32."""
    gradient_bytes: PositiveFloat
    fp16_gradient_bytes: PositiveFloat | None = None
    """Of a gradient under fp16, where the stack accumulates gradients in fp32 for bf16 only."""
    reduced_gradient_bytes: PositiveFloat
    """Of a gradient while it is reduced over data-parallel ranks."""
    preallocates_gradients: bool = True
    """Gradients have a buffer of their own for the whole step; otherwise they come and go with the backward pass."""
    weight_gradient_bytes: NonNegativeFloat = 0.0
    """Of a weight of the matmul that runs backward, until its gradient is in its buffer."""
    logit_bytes: PositiveFloat = 10.0
    """Of a logit at the fullest moment of the loss: 10 is bf16, an fp32 copy and its softmax."""
    split_logit_bytes: PositiveFloat | None = None
    """The same where tensor parallelism splits the vocabulary; None: as ``logit_bytes``."""
    reserve: Bytes
    """Outside the allocator: device context, communicator buffers, libraries' workspaces."""
    cached: Bytes = 0.0
    """What the allocator holds on top of what is allocated, whatever the size; given back when memory is short."""
    fragmentation_fraction: NonNegativeFloat = 0.0
    """The same as a share of all that comes and goes within a step."""


class Policy(_Record):
    """How the stack moves data between ranks."""

    splits_stage_transfers: bool = False
    """Without sequence parallelism, each tensor-parallel rank sends its share of a stage's output, which the next stage
    gathers inside its node (Narayanan 2021, arXiv:2104.04473, section 4.1); otherwise each sends the whole."""


class Support(_Record):
    """Which layouts the stack can run; None allows every value."""

    cp: bool = True
    context: tuple[str, ...] = ("ring",)
    """What context-parallel ranks may exchange, the usual kind first."""
    pp: bool = True
    ep: bool = True
    expert_tp: Literal["tp", "one"] = "tp"
    """How far experts are split by tensor parallelism where a layout does not say: as the dense parts, or not."""
    shardings: tuple[str, ...]
    schedules: tuple[str, ...]
    sequence_parallel: tuple[bool, ...] = (False, True)
    reduces_each_micro_batch: bool = True
    """FSDP reduces gradients after each micro-batch, instead of keeping them unsharded until the last."""
    recompute_layers: bool = False
    """Full recomputation may be of each stage's first layers only."""
    families: tuple[str, ...] = ("decoder", "encoder", "encoder-decoder")


class Stack(_Record):
    """A software stack preset."""

    name: str
    family: str
    """Stacks of one family share their code's ancestry; an unmeasured one borrows constants from its family first."""
    description: str
    source: str
    kernels: Kernels
    constants: dict[str, Constant]
    memory: MemoryPolicy
    policy: Policy = Policy()
    support: Support
    calibrated_devices: tuple[str, ...] = Field(default=())
    """Devices on which measurements of this stack fitted the constants."""

    @model_validator(mode="after")
    def _constants_complete(self) -> Self:
        missing = sorted(CONSTANT_MEANINGS.keys() - self.constants.keys())
        unknown = sorted(self.constants.keys() - CONSTANT_MEANINGS.keys())
        if missing or unknown:
            raise ValueError(f"constants: missing {missing or 'none'}, unknown {unknown or 'none'}")
        return self

    def __getitem__(self, constant: str) -> float:
        """The value of a constant."""
        return self.constants[constant].value

    def values(self) -> dict[str, float]:
        """Constant -> value."""
        return {name: constant.value for name, constant in self.constants.items()}

    def with_constants(self, values: dict[str, float], device: str | None = None) -> Self:
        """The stack with some constants replaced; ``device`` is the one they were fitted on.

        Raises InputError for a constant the stack does not have, or a value outside its bounds.
        """
        constants = dict(self.constants)
        for name, value in values.items():
            if name not in constants:
                raise InputError(f"calibration: constants.{name}: unknown; the constants are {', '.join(constants)}")
            bounds = constants[name]
            if not bounds.low * (1 - 1e-9) <= value <= bounds.high * (1 + 1e-9):
                raise InputError(
                    f"calibration: constants.{name}: must lie between {bounds.low:g} and {bounds.high:g}; got {value:g}"
                )
            clipped = min(max(value, bounds.low), bounds.high)
            constants[name] = bounds.model_copy(update={"value": clipped})
        devices = self.calibrated_devices if device is None else (*self.calibrated_devices, device)
        return self.model_copy(update={"constants": constants, "calibrated_devices": devices})
