"""The frameworks whose configurations can be read and written."""

from glmplan.frameworks import deepspeed, megatron, nemo, torchtitan
from glmplan.frameworks.configuration import Framework

FRAMEWORKS: dict[str, Framework] = {
    "megatron": megatron,
    "torchtitan": torchtitan,
    "deepspeed": deepspeed,
    "nemo": nemo,
}
