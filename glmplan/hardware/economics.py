"""Tables of figures about the world that belong to no single machine: prices, power, failures, fabrics in use."""

from pydantic import Field

from glmplan.errors import NoData
from glmplan.hardware.fact import Figure, Figures, Record, Source


class FigureTable(Record):
    """Named groups of figures."""

    name: str = Field(min_length=1)
    title: str = ""
    tables: dict[str, Figures]
    sources: dict[str, Source] = Field(default_factory=dict)

    def figure(self, group: str, name: str) -> Figure:
        """One figure. Raises NoData naming what there is."""
        figures = self.tables.get(group)
        if figures is None:
            raise NoData(f"{self.name}: no group {group!r}; it has {', '.join(self.tables)}")
        if name not in figures:
            raise NoData(f"{self.name}.{group}: no figure {name!r}; it has {', '.join(figures)}")
        return figures[name]
