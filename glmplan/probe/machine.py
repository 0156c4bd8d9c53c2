"""Probes this machine from start to end and writes its cluster profile."""

import math
from collections.abc import Sequence
from pathlib import Path

import psutil
import yaml

from glmplan import __version__
from glmplan.documents import Json, write_text
from glmplan.errors import InputError
from glmplan.hardware.catalog import list_names, load_device
from glmplan.precision import Precision
from glmplan.probe.catalogue_match import matching_device, name_fits
from glmplan.probe.device_under_test import choose_precisions, find_device, runtime_version
from glmplan.probe.profile import Circumstances, profile_document
from glmplan.probe.profile_file import check_output
from glmplan.probe.ranks import Progress, run_on_ranks
from glmplan.probe.section import over_ranks
from glmplan.probe.sections import ProbePlan

LEAST_SECONDS, MOST_SECONDS = 1.0, 3600.0
PATIENCE = 4.0
"""The measuring may take this many times as long as asked for before it counts as hung."""
LOAD_WINDOW_S = 0.5


def probe_machine(
    *,
    ranks: int | None,
    seconds: float,
    seed: int,
    dtypes: Sequence[Precision] | None,
    folder: Path,
    progress: Progress,
) -> Json:
    """Measures this machine for about ``seconds`` seconds and returns its cluster profile as document data.

    ``ranks`` None: one for each GPU; on a CPU one for each core, 2 to 8. ``dtypes`` None: those that training uses
    here. ``folder`` is where the disk is measured. Start-up comes on top of ``seconds``. Raises InputError for bad
    arguments and GlmplanError when a rank dies; leaves no process and no file behind.
    """
    if not (math.isfinite(seconds) and LEAST_SECONDS <= seconds <= MOST_SECONDS):
        raise InputError(f"--seconds: must be {LEAST_SECONDS:g} to {MOST_SECONDS:g}; got {seconds:g}")
    device, count = find_device(ranks)
    precisions = choose_precisions(device, None if dtypes is None else tuple(dtypes))
    other_load = psutil.cpu_percent(interval=LOAD_WINDOW_S) / 100
    plan = ProbePlan(
        kind=device.kind, ranks=count, seconds=seconds, seed=seed, dtypes=precisions, folder=folder.resolve()
    )
    results = run_on_ranks(
        plan,
        kind=device.kind,
        ranks=count,
        threads=device.threads,
        limit_s=PATIENCE * seconds + 60,
        progress=progress,
    )
    rows = {section: over_ranks([result[section] for result in results]) for section in results[0]}
    known = [load_device(name) for name in list_names("device") if name_fits(name, device.name)]
    made = Circumstances(
        device=device,
        catalogue_device=matching_device(device.name, device.memory_bytes, known) if device.kind == "cuda" else None,
        ranks=count,
        seconds=seconds,
        seed=seed,
        versions=f"glmplan {__version__}, {runtime_version(device.kind)}",
        other_load_fraction=other_load,
    )
    return profile_document(rows, made)


def write_profile(document: Json, path: Path, *, overwrite: bool = False) -> None:
    """Writes a cluster profile atomically. Raises InputError as ``check_output`` does."""
    check_output(path, overwrite=overwrite)
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    write_text(path, "# Written by glmplan probe. Measured values in SI units; facts name their unit.\n" + text)
