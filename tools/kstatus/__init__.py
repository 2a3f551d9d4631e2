"""
What kstatus says of objects: the library by which Helm and Flux tell whether what they applied is there.

Its program is built from the module in `go/`, with the libraries that the helm of the tests is built with.
"""

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tools.cluster import binaries

MODULE = Path(__file__).parent / "go"


def provide() -> Path:
    """
    Find or build the program.

    Raises:
        CannotRun: it is not here and cannot be built.
    """
    return binaries.provide_ours("kstatus", MODULE)


def statuses(objects: Iterable[Mapping[str, Any]]) -> list[str]:
    """`Current`, `InProgress`, `Failed` or `Terminating` for each of *objects*, as the API server has them."""
    text = "".join(map(json.dumps, objects))
    return subprocess.run([provide()], input=text, capture_output=True, text=True, check=True).stdout.split()
