"""Files of `sharded-queue run`, which no API server has validated."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sharded_queue_operator.errors import BadSpec
from sharded_queue_operator.resource.file import read

EXAMPLE = Path(__file__).parents[3] / "examples" / "notifications" / "shardedqueue.yaml"


@pytest.fixture
def body() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    return loaded


@pytest.fixture
def complaint(tmp_path: Path) -> Callable[[object], str]:
    def refused_with(content: object) -> str:
        file = tmp_path / "queue.yaml"
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        with pytest.raises(BadSpec) as refused:
            read(file)
        return str(refused.value).replace(str(file), "FILE")

    return refused_with


ODD = """\
apiVersion: shardedqueue.dev/v1alpha1
kind: ShardedQueue
metadata: {{name: a, annotations: {}}}
spec: {{redis: {{addresses: ["r:1"]}}, handlers: [{{name: a}}], worker: {{image: x, modules: [m]}}}}
"""


def test_the_example_is_a_resource_with_a_producer() -> None:
    resource, producer = read(EXAMPLE)

    assert resource.name.name == "notifications"
    assert producer == "python -m notifications"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("kind: Service\n", "FILE contains no ShardedQueue, only Service"),
        ("", "FILE contains no ShardedQueue"),
        ("just text", "FILE contains no ShardedQueue"),
        ("- a\n- b\n", "FILE contains no ShardedQueue"),
        (
            "kind: ShardedQueue\n---\nkind: ShardedQueue\n",
            "FILE contains 2 objects of kind ShardedQueue; run takes one",
        ),
    ],
)
def test_a_file_without_one_queue_is_refused(complaint: Callable[[object], str], content: str, sentence: str) -> None:
    assert complaint(content) == sentence


def test_what_is_no_yaml_is_refused_with_its_place(complaint: Callable[[object], str]) -> None:
    said = complaint("a: [1\nb: 2")

    assert said.startswith("FILE is not YAML: ")
    assert "line 2, column 2" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[" * 3000, "FILE is not YAML: it is nested too deeply"),
        ("at: 2001-99-99", "FILE is not YAML: month must be in 1..12"),
        ("a: !!int x", "FILE is not YAML: invalid literal for int() with base 10: 'x'"),
        (ODD.format("[1]"), "FILE: metadata.annotations must be texts by their names"),
        (
            ODD.format("{shardedqueue.dev/producer: 7}"),
            "FILE: the annotation shardedqueue.dev/producer must be a text, the command to start; it is 7",
        ),
    ],
)
@pytest.mark.slow
def test_odd_yaml_is_refused_with_a_sentence(complaint: Callable[[object], str], content: str, sentence: str) -> None:
    assert complaint(content) == sentence


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSpec, match=r"nothing.yaml cannot be read: No such file or directory"):
        read(tmp_path / "nothing.yaml")


def test_a_bad_value_is_named_with_its_place_and_its_bound(
    complaint: Callable[[object], str], body: dict[str, Any]
) -> None:
    body["spec"]["scaling"]["maxReplicas"] = 0

    assert complaint(body) == "FILE: spec: Expected `int` >= 1 - at `$.scaling.maxReplicas`; it is 0"


def test_a_queue_that_scales_workloads_of_a_cluster_cannot_run_here(
    complaint: Callable[[object], str], body: dict[str, Any]
) -> None:
    del body["spec"]["worker"]
    body["spec"]["scaleTargetRef"] = {"name": "workers"}

    assert "spec.worker is missing" in complaint(body)
