"""What a library of kernels moves to quantise the operands of 8- and 4-bit linear layers, by recipe."""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, PositiveFloat

from glmplan.documents import check, read_yaml
from glmplan.errors import NoData
from glmplan.precision import Recipe

Library = Literal["transformer-engine", "torchao"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ElementBytes(_Record):
    """Bytes read and written for each element of a tensor."""

    forward: NonNegativeFloat = 0.0
    backward: NonNegativeFloat = 0.0
    transposed: NonNegativeFloat = 0.0
    """On top, backward, where the device multiplies row-major operands only."""


class QuantisationKernels(_Record):
    """One library's kernels for one recipe."""

    input: ElementBytes
    normed_input: ElementBytes
    """Of an input that a norm wrote, where the norm's kernel may do the work."""
    weight: ElementBytes = ElementBytes()
    gradient: ElementBytes
    """Of the output's gradient."""
    product: ElementBytes = ElementBytes()
    """Of what the matmuls write: scales that they do not apply themselves."""
    gathers_quantised: bool = False
    """Tensor-parallel ranks quantise their part of a tensor before they gather it; otherwise after."""
    gathers_parameters: bool = False
    """Data-parallel ranks gather the parameters of linear layers quantised."""
    overlaps_gathers: bool = True
    """Where tensor-parallel collectives run under matmuls, all-gathers do so too."""
    keeps_quantised: bool = False
    """The backward pass keeps the quantised input; otherwise the input."""
    plain_layers: NonNegativeInt = 0
    """Layers at the ends of the model that stay in the activation format."""
    launches: NonNegativeFloat
    """Further kernels of a matmul's forward pass."""
    forward_matmul_time: PositiveFloat = 1.0
    """Seconds of a forward matmul over those of one that scales by tensor, which is what the tables are taken for."""
    how: Literal["read", "derived", "assumed"]
    sources: tuple[str, ...]


class _Source(_Record):
    title: str
    url: str


class _Libraries(_Record):
    libraries: dict[Library, dict[Recipe, QuantisationKernels]]
    sources: dict[str, _Source]


def quantisation_kernels(library: Library, recipe: Recipe) -> QuantisationKernels:
    """The kernels of ``library`` for ``recipe``. Raises NoData for a recipe that it does not have."""
    known = _libraries().libraries[library]
    if recipe not in known:
        raise NoData(f"fp8_recipe: {library} has no kernels for {recipe}; known are {', '.join(known)}")
    return known[recipe]


@cache
def _libraries() -> _Libraries:
    return check(_Libraries, read_yaml(Path(__file__).with_name("quantisation.yaml")))
