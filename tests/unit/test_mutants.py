"""Each mutant still breaks what it says it breaks; read here, without a process, long before its tests run."""

import ast
from pathlib import Path

from tests.mutants.mutant import Mutant
from tests.mutants.mutants import MUTANTS

PACKAGE = Path(__file__).parents[2] / "worker" / "sharded_queue"


def fault_of(mutant: Mutant) -> str | None:
    """Why *mutant* proves nothing, None if it breaks the engine as it should."""
    text = (PACKAGE / mutant.file).read_text()
    if (found := text.count(mutant.old)) != 1:
        return f"{mutant.name}: its text is {found} times in {mutant.file}, not once"
    if mutant.file.endswith(".py"):
        try:
            ast.parse(text.replace(mutant.old, mutant.new))
        except SyntaxError as error:
            return f"{mutant.name}: {mutant.file} cannot be parsed with it: {error}"
    return None


def test_each_mutant_replaces_text_that_is_there_once_and_can_be_parsed() -> None:
    assert [fault for mutant in MUTANTS if (fault := fault_of(mutant))] == []


def test_what_a_mutant_leaves_wrong_is_named() -> None:
    whole = MUTANTS[0]._replace(file="errors.py", old='"""', new="'")
    broken = whole._replace(old="class HandlerError(", new="class (")
    assert "not once" in (fault_of(whole) or "")
    assert "cannot be parsed" in (fault_of(broken) or "")
