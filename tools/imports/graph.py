"""
Which folder imports which, and in what row each stands.

Rows come from the `layers` contracts, imports from the code. A single module stands for itself; consecutive rows that
have no folder are drawn as one box.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import grimp

ROOT = Path(__file__).parents[2]
FOLDERS = {"sharded_queue": ROOT / "worker", "sharded_queue_operator": ROOT / "operator"}


@dataclass(frozen=True)
class Box:
    """A folder, or the modules of neighbouring rows that have no folder; *lines* are the names in it, row by row."""

    package: str
    lines: tuple[tuple[str, ...], ...]
    is_folder: bool

    @property
    def names(self) -> set[str]:
        return {name for line in self.lines for name in line}


Rows = list[list[Box]]


def rows_of(package: str) -> Rows:
    """The boxes of a package from the top to the bottom."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return list(_boxes(package, _layers(package, contracts)))


def _layers(package: str, contracts: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    (contract,) = (each for each in contracts if each.get("containers") == [package])
    return [tuple(name.strip() for name in layer.split("|")) for layer in contract["layers"]]


def _boxes(package: str, layers: list[tuple[str, ...]]) -> Iterator[list[Box]]:
    def has_folder(layer: tuple[str, ...]) -> bool:
        return any(_is_folder(package, name) for name in layer)

    for is_of_folders, group in groupby(layers, key=has_folder):
        if is_of_folders:
            yield from ([Box(package, ((name,),), _is_folder(package, name)) for name in layer] for layer in group)
        else:
            yield [Box(package, tuple(group), is_folder=False)]


def _is_folder(package: str, name: str) -> bool:
    return (FOLDERS[package] / package / name).is_dir()


def imports(rows: Rows) -> set[tuple[Box, Box]]:
    """
    Which box imports which, without those that follow from others.

    Raises:
        ValueError: an import points up.
    """
    place = {box: number for number, row in enumerate(rows) for box in row}
    boxes = {f"{box.package}.{name}": box for box in place for name in box.names}
    graph = grimp.build_graph(*FOLDERS)
    found = {
        (boxes[importer], boxes[imported])
        for module in graph.modules
        for importer in [_top(module)]
        for imported in map(_top, graph.find_modules_directly_imported_by(module))
        if importer in boxes and imported in boxes and boxes[importer] != boxes[imported]
    }
    if up := [
        f"{importer.lines} imports {imported.lines}"
        for importer, imported in found
        if place[importer] >= place[imported]
    ]:
        raise ValueError(f"imports that do not point down: {', '.join(up)}")
    return {(above, below) for above, below in found if not _is_reached(above, below, found)}


def _top(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _is_reached(above: Box, below: Box, found: set[tuple[Box, Box]]) -> bool:
    """Whether *above* reaches *below* by way of another box."""
    ahead = [end for start, end in found if start == above and end != below]
    seen: set[Box] = set()
    while ahead:
        box = ahead.pop()
        if box == below:
            return True
        if box not in seen:
            seen.add(box)
            ahead += [end for start, end in found if start == box]
    return False
