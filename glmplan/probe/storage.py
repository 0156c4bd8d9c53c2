"""Measures writing and reading files in a folder, past the page cache as far as the system allows."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from glmplan.errors import InputError
from glmplan.probe.section import Row
from glmplan.probe.timing import Timing, summary

MIB = 2**20
SIZES = (16 * MIB, 1 * MIB, 64 * MIB, 256 * MIB)
MOST_REPEATS = 5
CHUNK_BYTES = 4 * MIB
FREE_SPACE_SHARE = 0.25
"""Of the folder's free space at most this share is written at once."""


def measure_storage(folder: Path, budget_s: float, on_case: Callable[[float], None]) -> list[Row]:
    """Seconds to write (flushed to the device) and to read back files of several sizes in ``folder``.

    The file has no name while it is measured, so nothing is left behind however the probe ends. A size is passed over
    when the disk is too full or the time too short for it. Raises InputError when the folder cannot be written to.
    """
    rows: list[Row] = []
    start = time.monotonic()
    rate_bytes_per_s = 0.0
    try:
        free_bytes = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
        for number, size in enumerate(SIZES):
            left_s = budget_s - (time.monotonic() - start)
            predicted_s = 2 * size / rate_bytes_per_s if rate_bytes_per_s else 0.0
            if size > free_bytes * FREE_SPACE_SHARE or (number and predicted_s > left_s):
                continue
            write, read = _write_and_read(folder, size, left_s / (len(SIZES) - number))
            rate_bytes_per_s = size / write.seconds
            rows += [
                Row(columns={"op": op, "bytes": size}, timing=timing)
                for op, timing in (("write", write), ("read", read))
            ]
            on_case(min(1.0, (time.monotonic() - start) / budget_s))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to: {(error.strerror or str(error)).lower()}") from None
    return rows


def _write_and_read(folder: Path, size: int, budget_s: float) -> tuple[Timing, Timing]:
    chunk = os.urandom(min(CHUNK_BYTES, size))
    buffer = bytearray(len(chunk))
    writes: list[float] = []
    reads: list[float] = []
    start = time.monotonic()
    while len(writes) < MOST_REPEATS and (not writes or time.monotonic() - start < budget_s):
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            began = time.perf_counter()
            for _ in range(size // len(chunk)):
                file.write(chunk)
            os.fsync(file.fileno())
            writes.append(time.perf_counter() - began)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            began = time.perf_counter()
            while file.readinto(buffer):
                pass
            reads.append(time.perf_counter() - began)
    return summary(writes), summary(reads)
