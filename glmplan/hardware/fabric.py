"""Fabrics: how the nodes of a cluster are joined, as levels of a fat tree or as a hand-made tree of switches."""

from typing import Literal

from pydantic import Field, model_validator

from glmplan.hardware.fact import BandwidthFact, CountFact, DurationFact, RatioFact, Record


class Level(Record):
    """One level of switches of a fat tree."""

    name: str = Field(min_length=1)
    span_nodes: CountFact
    """Nodes that reach each other without going above this level."""
    oversubscription: RatioFact | None = None
    """Bandwidth from below over bandwidth from above into this level's switches; none: 1. The lowest level's is the
    cards over the leaf's ports and is 1 in practice."""
    switch_latency: DurationFact | None = None
    """Of crossing one switch of this level."""
    switch_ports: CountFact | None = None


class FatTree(Record):
    """A regular tree. Every level joins equal groups of the level below."""

    kind: Literal["fat-tree"] = "fat-tree"
    rails: CountFact | None = None
    """Leaf switches of one group: card r of every node goes to leaf r; none: one leaf."""
    levels: tuple[Level, ...] = Field(min_length=1)
    """Lowest first."""
    in_network_reduction: bool = False
    """Whether the switches are set up to add up all-reduces (SHARP)."""

    @model_validator(mode="after")
    def _levels_nest(self) -> "FatTree":
        for index, (below, above) in enumerate(zip(self.levels, self.levels[1:], strict=False)):
            top = index + 2 == len(self.levels)  # its last group may be a part of one
            if above.span_nodes.value <= below.span_nodes.value:
                raise ValueError(
                    f"levels: {above.name} spans {above.span_nodes.value} nodes, "
                    f"not more than the {below.span_nodes.value} of {below.name} below it; list the lowest level first"
                )
            if above.span_nodes.value % below.span_nodes.value and not top:
                raise ValueError(
                    f"levels: {above.name} spans {above.span_nodes.value} nodes, "
                    f"no multiple of the {below.span_nodes.value} of {below.name}"
                )
        names = [level.name for level in self.levels]
        if len(set(names)) != len(names):
            raise ValueError(f"levels: names must differ; got {', '.join(names)}")
        return self

    @property
    def span_nodes(self) -> int:
        """The most nodes it joins."""
        return self.levels[-1].span_nodes.value


class Switch(Record):
    """One switch of a hand-made tree."""

    name: str = Field(min_length=1)
    parent: str | None = None
    """The switch above; none for the root."""
    uplink: BandwidthFact | None = None
    """To the parent, one direction, all cables together."""
    latency: DurationFact | None = None
    nodes: int = Field(default=0, ge=0)
    """Nodes whose cards go into this switch."""


class SwitchTree(Record):
    """A hand-made tree: every switch names the one above it."""

    kind: Literal["tree"]
    switches: tuple[Switch, ...] = Field(min_length=1)
    in_network_reduction: bool = False

    @model_validator(mode="after")
    def _is_one_tree(self) -> "SwitchTree":
        by_name = {switch.name: switch for switch in self.switches}
        if len(by_name) != len(self.switches):
            raise ValueError("switches: every switch needs a name of its own")
        for switch in self.switches:
            if switch.parent is not None and switch.parent not in by_name:
                raise ValueError(f"switches: {switch.name} has the unknown parent {switch.parent!r}")
            if switch.parent is not None and switch.uplink is None:
                raise ValueError(f"switches: {switch.name} has a parent but no uplink bandwidth")
        if cycle := _cycle(by_name):
            raise ValueError(f"switches: cyclic topology {' -> '.join(cycle)}; one switch must have no parent")
        roots = [switch.name for switch in self.switches if switch.parent is None]
        if len(roots) > 1:
            raise ValueError(
                f"switches: disconnected topology, {len(roots)} switches without a parent ({', '.join(roots)}); "
                "devices below one cannot reach those below another; join them under one root"
            )
        if not any(switch.nodes for switch in self.switches):
            raise ValueError("switches: no switch has nodes; give 'nodes' where the hosts are attached")
        return self

    @property
    def span_nodes(self) -> int:
        """The nodes attached."""
        return sum(switch.nodes for switch in self.switches)


def _cycle(by_name: dict[str, Switch]) -> list[str]:
    """The names of a circle of parents, its first name repeated at the end; empty where there is none."""
    for name in by_name:
        path = [name]
        while (parent := by_name[path[-1]].parent) is not None:
            if parent in path:
                return [*path[path.index(parent) :], parent]
            path.append(parent)
    return []


Fabric = FatTree | SwitchTree
