"""The chart as the real helm renders it; no cluster is asked."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.harness.requirements import kubernetes_program

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "charts" / "sharded-queue"
VALUES = Path(__file__).parent / "values"
NAMESPACE = "queues"

Manifest = dict[str, Any]


class Refused(Exception):
    """Helm did not do it; the message is what it said."""


def helm(*arguments: str | Path) -> str:
    """
    Raises:
        Refused: with all that helm said.
    """
    command = [kubernetes_program("helm"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise Refused(done.stderr + done.stdout)
    return done.stdout


def rendered(*arguments: str | Path, kubernetes: str = "1.35.0") -> list[Manifest]:
    """The chart's objects, as `helm install --namespace queues test` would make them."""
    text = helm("template", "test", CHART, "--namespace", NAMESPACE, "--kube-version", kubernetes, *arguments)
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(objects: list[Manifest], *kinds: str) -> list[Manifest]:
    return [each for each in objects if each["kind"] in kinds]


def values(name: str) -> list[str | Path]:
    return ["--values", VALUES / f"{name}.yaml"]
