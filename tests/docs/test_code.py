"""Every block of code in every page is run or checked by a test, or says why it is not."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import jsonschema
import pytest
import yaml

from sharded_queue.cli.program import main
from sharded_queue.settings import FIELDS
from sharded_queue_operator.resource.spec import parsed
from sharded_queue_operator.settings import Settings as OperatorSettings
from tests.chart.promtool import checked, require_promtool
from tests.harness.pages import FENCE
from tools.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page for pattern in ("*.md", "docs/**/*.md", "charts/*/README.md", "examples/*/*.md") for page in ROOT.glob(pattern)
)

ELSEWHERE = {
    ("README.md", "python"): "tests/unit/sharded_queue/test_readme.py",
    ("docs/handlers.md", "python"): "tests/unit/sharded_queue/test_readme.py",
    ("docs/producers.md", "python"): "tests/unit/sharded_queue/test_readme.py",
    ("docs/producers.md", "py"): "tests/web/test_after_commit.py",
    ("docs/operations.md", "python"): "tests/contract/test_procedures.py",
    ("docs/operations.md", "ini"): "tests/docs/test_operations.py",
    ("docs/operations.md", "dockerfile"): "tests/docs/test_operations.py",
    ("docs/operations.md", "yaml"): "tests/docs/test_operations.py",
    ("docs/kubernetes.md", "python"): "tests/docs/test_different_needs.py",
    ("docs/tutorial.md", "python"): "tests/docs/test_tutorial.py",
    ("docs/tutorial.md", "console"): "tests/docs/test_tutorial.py",
    **{
        (f"docs/migration/{page.name}", "python"): "tests/docs/test_migration.py"
        for page in PAGES
        if page.parent.name == "migration"
    },
}
"""Pages whose blocks of a language a test of their own runs."""


class Block(NamedTuple):
    page: Path
    language: str
    code: str


def blocks(language: str | None = None) -> Iterator[Block]:
    """Blocks that are not marked, and that no other test runs."""
    for page in PAGES:
        for fence in FENCE.finditer(page.read_text()):
            is_elsewhere = (name(page), fence["language"]) in ELSEWHERE
            if not fence["why"] and not is_elsewhere and language in {None, fence["language"]}:
                yield Block(page, fence["language"], fence["code"])


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def lines(block: Block) -> Iterator[list[str]]:
    """The words of each command, without what is said of it."""
    for line in block.code.replace("\\\n", " ").splitlines():
        for command in re.split(r"&&|\||;|\$\(", re.sub(r"(^|\s)#.*", "", line)):
            try:
                yield shlex.split(command.replace("&", "").replace(")", ""))
            except ValueError:  # a quotation that contained one of the signs
                continue


def test_each_language_is_checked_and_each_other_test_names_its_page() -> None:
    assert {block.language for block in blocks()} <= {"python", "sh", "yaml", "json", "promql"}
    for (page, _), test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text(), (page, test)


@pytest.mark.parametrize("page", sorted({block.page for block in blocks("python")}), ids=name)
def test_python_runs_block_by_block(page: Path, redis_server: RedisServer) -> None:
    code = "\n".join(block.code for block in blocks("python") if block.page == page)
    environment = os.environ | {"QUEUE_REDIS_ADDRESS": redis_server.address}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)


def test_commands_of_ours_have_the_arguments_that_they_are_given() -> None:
    commands = [words for block in blocks("sh") for words in lines(block)]
    ours = [words[words.index("sharded-queue") + 1 :] for words in commands if "sharded-queue" in words[:4]]

    assert len(ours) >= 20
    for words in ours:
        parse(main, [word for word in words if not re.match(r"[<>]|[\w.]+\.lua$", word)])


def parse(command: click.Command, words: list[str]) -> None:
    """As the program does, down to the command that would run; an error says what it does not know."""
    if not isinstance(command, click.Group):
        command.make_context(command.name, list(words))
        return
    found = command.get_command(click.Context(command), words[0])
    assert found, words
    parse(found, words[1:])


def test_words_of_make_exist() -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {words[1] for block in blocks("sh") for words in lines(block) if words[:1] == ["make"]}

    assert used
    assert used - known == set()


def test_settings_exist() -> None:
    known = {f"QUEUE_{field}".upper() for field in FIELDS}
    known |= {f"OPERATOR_{field}".upper() for field in OperatorSettings.model_fields}
    used = {found for block in blocks("sh") for found in re.findall(r"\b(?:QUEUE|OPERATOR)_[A-Z_]+(?==)", block.code)}

    assert used
    assert used - known == set()


def test_files_exist() -> None:
    paths = {word for block in blocks("sh") for words in lines(block) for word in words}
    ours = {path for path in paths if re.match(r"(charts|crds|docs|examples|tools)/", path)}

    assert ours
    assert [path for path in ours if not (ROOT / path).exists()] == []


OF_OTHERS = {"HorizontalPodAutoscaler", "ScaledObject", "externalRules"}
"""What `tests/operator_api/test_follow.py` uses."""


def test_yaml_is_a_resource_that_is_accepted_or_values_of_the_chart() -> None:
    schema = json.loads((ROOT / "charts" / "sharded-queue" / "values.schema.json").read_text())
    documents: list[Any] = [each for block in blocks("yaml") for each in yaml.safe_load_all(block.code)]

    assert documents
    for document in documents:
        if document.get("kind") == "ShardedQueue":
            document["metadata"] = {"namespace": "default", "uid": "1", "generation": 1} | document["metadata"]
            parsed(document)
        elif not OF_OTHERS & {document.get("kind"), *document}:
            jsonschema.validate(document, schema)


def test_promql_is_what_prometheus_reads(tmp_path: Path) -> None:
    require_promtool()
    expressions = [block.code for block in blocks("promql")]

    assert expressions
    checked(tmp_path, expressions)


def test_json_and_python_can_be_read() -> None:
    for block in blocks("json"):
        json.loads(block.code)
    for block in blocks("python"):
        ast.parse(block.code)
