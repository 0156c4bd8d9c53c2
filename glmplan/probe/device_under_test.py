"""The device that the probe measures: one GPU or a share of the CPU's cores. The only module that calls torch.cuda.

What differs between the kinds of device (synchronising, names, memory, which formats it multiplies) ends here.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from glmplan.errors import InputError
from glmplan.precision import Precision

DTYPES: dict[Precision, torch.dtype] = {
    Precision.FP32: torch.float32,
    Precision.TF32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
    Precision.FP8: torch.float8_e4m3fn,
}
MAX_CPU_RANKS = 8
MEMORY_STEP_BYTES = 256 * 2**20
FP8_CAPABILITY = (8, 9)
"""The first CUDA compute capability with 8-bit tensor cores (Ada; CUDA C++ programming guide, appendix 17.1)."""
BF16_CAPABILITY = (8, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUnderTest:
    """One device of this machine, as the planner counts devices: a GPU, or one rank's cores."""

    kind: str
    """``cuda`` or ``cpu``."""
    name: str
    """What torch calls the GPU; ``cpu-<n>threads`` for a CPU share."""
    threads: int
    """Host threads of one rank."""
    memory_bytes: float
    """Memory that one rank may use."""
    max_ranks: int
    """Most ranks that can be measured at once."""
    host_cores: int
    host_memory_bytes: float


def usable_cores() -> int:
    """Cores this process may use: its affinity, capped by the control group's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _control_group("cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return cores


def usable_memory_bytes() -> int:
    """Memory available now, capped by what the control group still allows."""
    available = psutil.virtual_memory().available
    limit, used = _control_group("memory.max").strip(), _control_group("memory.current").strip()
    if limit.isdigit() and used.isdigit():
        # Cached file pages count as used although they give way when memory is asked for.
        cached = re.search(r"^inactive_file (\d+)$", _control_group("memory.stat"), re.MULTILINE)
        reclaimable = int(cached.group(1)) if cached else 0
        available = min(available, max(0, int(limit) - int(used) + reclaimable))
    return int(available)


def _control_group(file: str) -> str:
    try:
        return (Path("/sys/fs/cgroup") / file).read_text(encoding="ascii")
    except OSError:
        return ""


def default_cpu_ranks(cores: int) -> int:
    """The largest power of two that ``cores`` can carry: at least 2, so that there is something to communicate.

    >>> [default_cpu_ranks(cores) for cores in (1, 2, 6, 64)]
    [2, 2, 4, 8]
    """
    return max(2, 1 << (min(cores, MAX_CPU_RANKS).bit_length() - 1))


def find_device(ranks: int | None) -> tuple[DeviceUnderTest, int]:
    """The device of this machine and the number of ranks to measure with; ``ranks`` None chooses.

    Raises InputError when more ranks are asked for than the machine has GPUs, or far more than it has cores.
    """
    cores, memory_bytes = usable_cores(), usable_memory_bytes()
    cuda = torch.cuda.is_available()
    most = torch.cuda.device_count() if cuda else max(2, 2 * cores)
    count = ranks if ranks is not None else (most if cuda else default_cpu_ranks(cores))
    if not 1 <= count <= most:
        what = f"this machine has {most} GPUs" if cuda else f"this machine has {cores} cores, two ranks a core at most"
        raise InputError(f"--ranks: {count} is outside 1 to {most} ({what}); use 1 to {most}")
    threads = max(1, cores // count)
    if cuda:
        name, own_bytes = torch.cuda.get_device_name(0), float(torch.cuda.get_device_properties(0).total_memory)
    else:
        name, own_bytes = f"cpu-{threads}threads", _rounded_down(memory_bytes / count)
    device = DeviceUnderTest(
        kind="cuda" if cuda else "cpu",
        name=name,
        threads=threads,
        memory_bytes=own_bytes,
        max_ranks=most,
        host_cores=cores,
        host_memory_bytes=_rounded_down(psutil.virtual_memory().total),
    )
    return device, count


def _rounded_down(size_bytes: float) -> float:
    steps = int(size_bytes // MEMORY_STEP_BYTES)
    return float(steps * MEMORY_STEP_BYTES) if steps else float(int(size_bytes))


def choose_precisions(device: DeviceUnderTest, wanted: tuple[Precision, ...] | None) -> tuple[Precision, ...]:
    """The formats to measure: those wanted, or what training on this device uses.

    Raises InputError for a format that this device or this probe cannot multiply.
    """
    if device.kind == "cpu":
        possible = [Precision.FP32, Precision.BF16]
        why = "a CPU is measured in fp32 and bf16 (its fp16 has no fast matmul)"
    else:
        capability = torch.cuda.get_device_capability(0)
        possible = [Precision.FP32, Precision.FP16]
        possible += [Precision.TF32, Precision.BF16] if capability >= BF16_CAPABILITY else []
        possible += [Precision.FP8] if capability >= FP8_CAPABILITY else []
        why = f"this GPU's compute capability is {capability[0]}.{capability[1]}"
    if wanted is None:
        usual = (Precision.FP32, Precision.BF16 if Precision.BF16 in possible else Precision.FP16, Precision.FP8)
        return tuple(precision for precision in usual if precision in possible)
    for precision in wanted:
        if precision not in possible:
            known = ", ".join(item.value for item in possible)
            raise InputError(f"--dtype: {precision.value} cannot be measured here: {why}; use {known}")
    return tuple(dict.fromkeys(wanted))


def set_up_rank(kind: str, rank: int, threads: int) -> torch.device:
    """Makes this process one rank of the measurement and returns its torch device."""
    torch.set_num_threads(threads)
    if kind == "cuda":
        torch.cuda.set_device(rank)
        return torch.device("cuda", rank)
    return torch.device("cpu")


def synchronise(device: torch.device) -> None:
    """Waits until the device has finished what was given to it; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def allow_tf32(allowed: bool) -> None:
    """Whether fp32 matmuls may run on the GPU's 19-bit TF32 path."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")


def runtime_version(kind: str) -> str:
    """The versions that the measurements depend on, in words."""
    backend = f"CUDA {torch.version.cuda}" if kind == "cuda" else "gloo"
    return f"torch {torch.__version__}, {backend}"
