"""Megatron-LM: a shell script around ``pretrain_gpt.py``. It is parsed, never run."""

import shlex

from glmplan.errors import InputError
from glmplan.frameworks.configuration import Configuration
from glmplan.frameworks.megatron_options import plan_options
from glmplan.frameworks.megatron_reading import read_options
from glmplan.frameworks.provenance import header
from glmplan.frameworks.shell_arguments import read_arguments
from glmplan.plan.document import Plan

LEFT_TO_USER = "learning rate, data, tokenizer and checkpoint options are left to you: append them"


def read(text: str, file: str) -> Configuration:
    """The configuration in a script or a plain list of arguments. Raises InputError."""
    options, unresolved = read_arguments(text)
    if not options:
        raise InputError(f"{file}: holds no --options; give a Megatron-LM launch script or its argument list")
    return read_options(dict(options), "megatron", file, unresolved)


def write(plan: Plan) -> str:
    """A script that launches ``pretrain_gpt.py`` with the plan's layout. Raises InputError where Megatron cannot."""
    lines = ["#!/bin/sh", *(f"# {line}" for line in header(plan)), f"# {LEFT_TO_USER} as arguments of this script."]
    lines += ["set -eu", "torchrun \\", f"  --nnodes {plan.cluster.num_nodes} \\"]
    lines += [f"  --nproc-per-node {plan.request.num_gpus // plan.cluster.num_nodes} \\", "  pretrain_gpt.py \\"]
    for name, value in plan_options(plan).items():
        flag = f"--{name.replace('_', '-')}"
        lines.append(f"  {flag} \\" if value is True else f"  {flag} {shlex.quote(str(value))} \\")
    return "\n".join([*lines, '  "$@"', ""])
