"""`python -m bench.operator`: measure on a real cluster, print the tables, write them into docs/scaling-in-depth.md."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date

from bench import machine
from bench.before import with_before
from bench.environments import ROOT
from bench.figure import Figure
from bench.operator import drain_cost, first_request, many_resources
from bench.operator.scale import FULL, QUICK, Scale
from bench.page import write_part
from bench.report import HEAD, aligned, figure_cells, markdown
from tools.cluster import cluster as kubernetes
from tools.cluster.cluster import Cluster
from tools.operator_process import install_crd

PAGE = ROOT / "docs" / "scaling-in-depth.md"
PARTS = ("patched", "handled", "drain-cost", "many-resources")
STEP_HEAD = ("step", "median", "")


class Found:
    """What was measured so far."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self.steps: list[Figure] = []
        self.drains: list[tuple[str, ...]] = []

    async def take(self, figures: AsyncIterator[Figure]) -> None:
        async for figure in figures:
            print(f"  {figure.name}: {figure.value} {figure.verdict}", flush=True)
            (self.steps if figure.name in first_request.STEPS else self.figures).append(with_before(figure))

    async def take_drains(self, cluster: Cluster, scale: Scale) -> None:
        async for workload, found in drain_cost.measure(cluster, scale):
            self.figures += drain_cost.figures(workload, found)
            self.drains += drain_cost.rows(workload, found)

    def tables(self) -> dict[str, list[tuple[str, ...]]]:
        """The tables by their part of the page. Those that were not measured are empty."""
        total = sum(step.measured for step in self.steps)
        steps = [(step.name, step.value, f"{step.measured / total:.0%}") for step in self.steps]
        return {
            "figures on a cluster": [HEAD, *map(figure_cells, self.figures)] if self.figures else [],
            "steps of a first request": [STEP_HEAD, *steps] if steps else [],
            "real pods": [drain_cost.HEAD, *self.drains] if self.drains else [],
        }


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.operator", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, and the page stays as it is")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these, and the page stays as it is")
    for size in ("resources", "replicas"):
        parser.add_argument(f"--{size}", type=int, help=f"{size} of many-resources; the page stays as it is")
    return parser.parse_args()


def scale_of(words: argparse.Namespace) -> Scale:
    sizes = {size: asked for size in ("resources", "replicas") if (asked := getattr(words, size)) is not None}
    return replace(QUICK if words.quick else FULL, **sizes)


@contextmanager
def cluster_of_ours() -> Iterator[Cluster]:
    """The cluster of `make cluster`, or a new one that is removed in the end, with the current images."""
    if kubernetes.given():
        raise SystemExit("KUBECONFIG names a cluster; this needs the one of `make cluster`, whose node it looks into")
    kubernetes.prepare()
    is_new = kubernetes.up()
    try:
        cluster = kubernetes.connect()
        cluster.load_images()
        install_crd(cluster)
        yield cluster
    finally:
        if is_new:
            kubernetes.down()


async def measured(cluster: Cluster, scale: Scale, parts: list[str]) -> Found:
    found = Found()
    if "patched" in parts:
        await found.take(first_request.patched(cluster, scale))
    if "handled" in parts:
        await found.take(first_request.handled(cluster, scale))
    if "drain-cost" in parts:
        await found.take_drains(cluster, scale)
    if "many-resources" in parts:
        await found.take(many_resources.measure(cluster, scale))
    return found


def main() -> None:
    words = parsed()
    with cluster_of_ours() as cluster:
        load = machine.load()
        found = asyncio.run(measured(cluster, scale_of(words), words.only))
    tables = found.tables()
    print("\n" + "\n\n".join(aligned(table) for table in tables.values() if table))
    if scale_of(words) != FULL or words.only is not PARTS:
        return
    about = {"Measured": f"{date.today().isoformat()} by `make bench-operator`", **machine.hardware(), **load}
    write_part(PAGE, "machine", "\n".join(f"- {name}: {value}" for name, value in about.items()))
    for part, table in tables.items():
        write_part(PAGE, part, markdown(table))
    print(f"\nwritten: {PAGE.relative_to(ROOT)}")


main()
