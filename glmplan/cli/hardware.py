"""`glmplan hardware`: lists, shows and checks the profiles of devices, links, nodes, clusters and storage."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glmplan.cli.terminal import format_option, print_json, print_table

if TYPE_CHECKING:
    from glmplan.hardware.catalog import Kind
    from glmplan.hardware.cluster import Cluster

SCHEMA_VERSION = 1
LISTED: tuple[tuple["Kind", str], ...] = (
    ("device", "devices"),
    ("node", "nodes"),
    ("cluster", "clusters"),
    ("link", "links"),
    ("storage", "storage"),
)
GRAPH_NODES = 64
"""Nodes that `show` draws of a larger cluster; its levels repeat."""


@click.group()
def command() -> None:
    """Devices, links, nodes, clusters and storage: what glmplan knows, and from where.

    Example: glmplan hardware show dgx-h100-pod
    """


@command.command("list")
@click.option(
    "--kind", type=click.Choice([plural for _, plural in LISTED]), help="Only one kind of profile; all without it."
)
@format_option("text", "json", "csv", "md")
def list_profiles(kind: str | None, output_format: str) -> None:
    """Lists the catalogue.

    Example: glmplan hardware list --kind clusters
    """
    from glmplan.hardware.overview import overview

    tables = {plural: overview(singular) for singular, plural in LISTED if kind in (None, plural)}
    if output_format == "json":
        print_json({"schema_version": SCHEMA_VERSION, **tables})
        return
    for plural, rows in tables.items():
        headers = list(rows[0]) if rows else ["name"]
        texts = [["" if row[header] is None else row[header] for header in headers] for row in rows]
        print_table(headers, texts, output_format, title=plural)


@command.command()
@click.argument("name")
@click.option("--kind", type=click.Choice([singular for singular, _ in LISTED] + ["calibration", "table"]))
@click.option("--gpus", type=click.IntRange(min=1), help="Size a cluster to so many devices.")
@format_option("text", "json")
def show(name: str, kind: "Kind | None", gpus: int | None, output_format: str) -> None:
    """Shows one profile: every figure with its source, and for a cluster its graph and tiers.

    NAME is a name of the catalogue or a file.

    Example: glmplan hardware show aws-p5
    """
    from glmplan.errors import InputError
    from glmplan.hardware.catalog import load_cluster, profile_kind, read_named

    kind = kind or profile_kind(name)
    if kind == "cluster":
        cluster = load_cluster(name)
        _show_cluster(cluster.sized(gpus) if gpus else cluster, output_format)
        return
    if gpus is not None:
        raise InputError(f"--gpus: only a cluster has a size; {name} is a {kind}")
    profile = read_named(kind, name)
    if output_format == "json":
        data = profile.model_dump(mode="json", exclude_none=True)
        print_json({"schema_version": SCHEMA_VERSION, "kind": kind, "profile": data})
        return
    from glmplan.hardware.overview import fact_rows, plain_rows

    print_table(["field", "value"], [["kind", kind], *plain_rows(profile)], output_format)
    print_table(["figure", "value", "grade", "source", "note"], _short(fact_rows(profile)), output_format)


@command.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(files: tuple[Path, ...]) -> None:
    """Checks profile FILES and prints every fault with file, line and field.

    Example: glmplan hardware check my-cluster.yaml
    """
    from glmplan.errors import InputError
    from glmplan.hardware.catalog import check_file

    faults: list[str] = []
    for path in files:
        try:
            click.echo(f"ok: {path}: {check_file(path)}")
        except InputError as error:
            faults += str(error).splitlines()
    if faults:
        raise InputError("\n".join(faults))


@command.command()
@click.option(
    "--kind",
    type=click.Choice([singular for singular, _ in LISTED] + ["calibration", "table"]),
    default="cluster",
    show_default=True,
)
def schema(kind: "Kind") -> None:
    """Prints the JSON Schema of a kind of profile, for editors and other tools.

    Example: glmplan hardware schema --kind device > device.schema.json
    """
    from glmplan.hardware.catalog import KINDS

    print_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **KINDS[kind][1].model_json_schema()})


def _show_cluster(cluster: "Cluster", output_format: str) -> None:
    from glmplan.hardware.overview import graph_rows, tier_rows

    drawn = cluster
    if cluster.num_nodes > GRAPH_NODES:
        drawn = cluster.sized(GRAPH_NODES * cluster.devices_per_node)
    vertices, edges = graph_rows(drawn)
    price = cluster.usd_per_device_hour
    if output_format == "json":
        print_json(_cluster_document(cluster, drawn, vertices, edges))
        return
    measured = cluster.measured.matmul_table("bf16") or cluster.measured.matmul_table("fp32")
    rows = [
        ["cluster", cluster.name],
        ["node", f"{cluster.node.name} ({cluster.devices_per_node} x {cluster.device.name})"],
        ["size", f"{cluster.num_devices} devices on {cluster.num_nodes} nodes; at most {cluster.max_devices}"],
        [
            "price",
            f"{price.value:.2f} USD per device-hour ({price.how}, {price.source}: {price.note})" if price else "-",
        ],
        ["matmul table", f"{measured.grade}, {measured.device}" if measured else "none"],
    ]
    print_table(["field", "value"], rows, output_format)
    print_table(*tier_rows(cluster), output_format, title="tiers, innermost first")
    title = f"graph of {drawn.num_nodes} nodes"
    print_table(["vertices", "count"], [[kind, f"{count}"] for kind, count in vertices], output_format, title=title)
    print_table(["edge", "count", "bandwidth", "latency"], edges, output_format)
    facts = [[fact.name, fact.value, fact.grade, fact.source] for fact in cluster.facts]
    print_table(["figure", "value", "grade", "source"], facts, output_format, title="facts")


def _cluster_document(
    cluster: "Cluster", drawn: "Cluster", vertices: list[tuple[str, int]], edges: list[list[str]]
) -> dict[str, Any]:
    from dataclasses import asdict

    price = cluster.usd_per_device_hour
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "cluster",
        "name": cluster.name,
        "device": cluster.device.name,
        "node": cluster.node.name,
        "devices_per_node": cluster.devices_per_node,
        "num_nodes": cluster.num_nodes,
        "max_devices": cluster.max_devices,
        "usd_per_device_hour": None
        if price is None
        else {"value": price.value, "source": price.source, "how": price.how, "note": price.note},
        "tiers": [asdict(tier) for tier in cluster.tiers],
        "graph": {
            "num_nodes": drawn.num_nodes,
            "vertices": dict(vertices),
            "edges": [dict(zip(("edge", "count", "bandwidth", "latency"), edge, strict=True)) for edge in edges],
        },
        "facts": [asdict(fact) for fact in cluster.facts],
        "profiles": dict(cluster.profiles),
    }


def _short(rows: list[list[str]]) -> list[list[str]]:
    """Notes cut to what a terminal line holds; JSON has them in full."""
    return [[*row[:-1], row[-1] if len(row[-1]) <= 70 else row[-1][:67] + "..."] for row in rows]
