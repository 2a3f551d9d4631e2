"""The reference is complete: what the code has and the site has not is an error."""

from pathlib import Path
from types import ModuleType

import pytest
from sphinx.util.inventory import InventoryFile

import sharded_queue
from sharded_queue.cli.program import main
from sharded_queue.settings import Settings
from sharded_queue_operator.settings import Settings as OperatorSettings
from tools.docs import api, settings
from tools.docs.docstrings import as_restructured
from tools.docs.reference import MADE

PLAIN = """
class Documented:
    'It is.'
    def method(self): ...
    def told(self): 'It is.'
class Bare: ...
def bare(): ...
"""
DOCSTRING = """About `a b` and `Queue`s:
- first

*count*: how many,
as a number.

Raises:
    QueueFull: no
        room."""


def test_every_public_name_and_method_is_in_the_reference(site: Path) -> None:
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    named = {name for kind in inventory.data.values() for name in kind}

    names = [f"sharded_queue.{name}" for name in sharded_queue.__all__ if name not in api.ELSEWHERE]
    wanted = {*names, *(f"{name}.{method}" for name in names for method in api.methods_named(name))}
    wanted |= {f"sharded_queue.testing.{name}" for name in api.public_names(api.TESTING)}
    assert wanted - named == set()


def test_a_name_or_a_method_without_a_docstring_is_found() -> None:
    module = ModuleType("plain")
    exec(PLAIN, module.__dict__)

    assert [*api.undocumented(module, ["Documented", "Bare", "bare"])] == [
        "plain.Documented.method",
        "plain.Bare",
        "plain.bare",
    ]


def test_a_public_name_that_no_group_has_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded_queue, "__all__", [*sharded_queue.__all__, "fresh"])

    with pytest.raises(ValueError, match="fresh"):
        api.reference()


@pytest.mark.parametrize("owner", [Settings, OperatorSettings])
def test_every_number_with_a_fraction_is_in_seconds_and_says_so(owner: type[Settings] | type[OperatorSettings]) -> None:
    entries = settings.reference(owner).split("## ")[1:]
    durations = [entry for entry in entries if "\n*seconds" in entry]

    assert durations
    assert [entry for entry in durations if "second" not in entry.replace("*seconds", "").lower()] == []


def test_a_setting_shows_its_variable_kind_default_and_bounds() -> None:
    assert (
        "## `QUEUE_WORKER_BATCH_SIZE`\n\n*whole number · default: `128` · from 1 to 10,000*\n\n"
        in settings.reference(Settings)
    )


def test_every_command_is_in_the_reference(site: Path) -> None:
    page = (site / "docs" / "reference" / "commands.html").read_text()

    assert [name for name in main.list_commands(None) if f'id="sharded-queue-{name}"' not in page] == []  # type: ignore[arg-type]


def test_every_field_of_the_resource_is_in_the_reference() -> None:
    text = MADE["the resource"]()

    assert "### `spec.handlers[].microsecondsPerRequest`\n\n*int64 · from 1 · to 86,400,000,000*\n\nTime to" in text
    assert "### `status.threads.blocked`\n\n*int64*\n\nBacking off after a failure, or paused.\n" in text


def test_docstrings_become_code_lists_links_and_errors() -> None:
    assert as_restructured(DOCSTRING.split("\n"), {"Queue": "sharded_queue.Queue"}) == [
        "About ``a b`` and :py:obj:`Queue <sharded_queue.Queue>`\\ s:",
        "",
        "- first",
        "",
        "- *count*: how many,",
        "  as a number.",
        "",
        ":raises QueueFull: no",
        "        room.",
    ]
