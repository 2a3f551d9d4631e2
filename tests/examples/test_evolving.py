"""Old and new code at the same time: the order of deployments, the wrong order, and each row of the page's table."""

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest

from sharded_queue import SerializationError
from sharded_queue.serializer import Serializer
from tests.examples.recipe import EXAMPLES, Recipe
from tools.redis_server import Ask, RedisServer

pytestmark = pytest.mark.redis
WORKER = "sharded-queue worker charges"
REGISTER = "python register.py"


@pytest.fixture
def recipe(ask: Ask, redis_server: RedisServer) -> Iterator[Recipe]:
    with Recipe("evolving", redis_server, QUEUE_WORKER_BATCH_SIZE="1", QUEUE_WORKER_EMPTY_PAUSE="0") as recipe:
        yield recipe


def test_the_commands_of_the_page_handle_both_shapes(recipe: Recipe) -> None:
    _, worker, _ = recipe.follow()
    worker.line("new worker: ann 700 CHF")

    assert [line for line in worker.said if line.startswith("new worker")] == [
        "new worker: ann 500 EUR",
        "new worker: ann 700 CHF",
    ]


def test_workers_first_loses_nothing(recipe: Recipe) -> None:
    """Old and new workers run side by side while producers are old; producers change when the old worker has left."""
    old = recipe.start(WORKER, PYTHONPATH="old", QUEUE_WORKER_NAME="old")
    old.line("serving charges.ChargeHandler")
    recipe.run(f"{REGISTER} ann 1 2 3", PYTHONPATH="old")
    old.line("old worker: ann 3 'thanks'")
    new = recipe.start(WORKER, PYTHONPATH="new", QUEUE_WORKER_NAME="new")
    new.line("serving charges.ChargeHandler")
    recipe.run(f"{REGISTER} bob 1 2 3", PYTHONPATH="old")
    old.tell(signal.SIGTERM)
    assert old.ended() == 0
    recipe.run(f"{REGISTER} bob 4", PYTHONPATH="new")
    new.line("new worker: bob 4 CHF")

    handled = [re.findall(r"worker: bob (\d)", program.text) for program in (old, new)]
    assert handled[0] + handled[1] == list("1234")
    assert "SerializationError" not in old.text + new.text


def test_producers_first_is_seen_in_the_dead_letters_and_can_be_replayed(recipe: Recipe) -> None:
    recipe.run(f"{REGISTER} ann 1 2", PYTHONPATH="new")
    old = recipe.start(WORKER, PYTHONPATH="old", QUEUE_WORKER_NAME="old")
    old.line(re.compile("request 1 of .* goes to the dead letters: SerializationError"))
    old.tell(signal.SIGTERM)
    assert old.ended() == 0
    listed = recipe.run("sharded-queue dead list charges.ChargeHandler")
    assert "Object missing required field `note`" in re.sub(r"\s+", " ", listed)

    recipe.run("sharded-queue dead replay charges.ChargeHandler --all")
    new = recipe.start(WORKER, PYTHONPATH="new")
    for cents in (1, 2):
        new.line(f"new worker: ann {cents} CHF")


class Struct(msgspec.Struct):
    account: str
    cents: int


class StructMore(msgspec.Struct):
    account: str
    cents: int
    currency: str = "EUR"


class StructMust(msgspec.Struct):
    account: str
    cents: int
    currency: str


class StructRenamed(msgspec.Struct):
    account: str
    amount: int


class StructRenamedInCode(msgspec.Struct):
    account: str
    amount: int = msgspec.field(name="cents")


class StructLess(msgspec.Struct):
    account: str


class StructText(msgspec.Struct):
    account: str
    cents: str


@dataclass
class Data:
    account: str
    cents: int


@dataclass
class DataMore:
    account: str
    cents: int
    currency: str = "EUR"


@dataclass
class DataLess:
    account: str


class Model(pydantic.BaseModel):
    account: str
    cents: int


class ModelMore(pydantic.BaseModel):
    account: str
    cents: int
    currency: str = "EUR"


class ModelLess(pydantic.BaseModel):
    account: str


class Tuple(NamedTuple):
    account: str
    cents: int


class TupleMore(NamedTuple):
    account: str
    cents: int
    currency: str = "EUR"


class TupleLess(NamedTuple):
    account: str


class TupleRenamed(NamedTuple):
    account: str
    amount: int


STRUCT, MODEL = Struct("ann", 5), Model(account="ann", cents=5)
ROWS = [
    ("add a field with a default: Struct, dataclass, pydantic", STRUCT, StructMore("ann", 5)),
    ("add a field with a default: Struct, dataclass, pydantic", Data("ann", 5), DataMore("ann", 5)),
    ("add a field with a default: Struct, dataclass, pydantic", MODEL, ModelMore(account="ann", cents=5)),
    ("add a field with a default at the end: NamedTuple", Tuple("ann", 5), TupleMore("ann", 5)),
    ("add a field without a default", STRUCT, StructMust("ann", 5, "EUR")),
    ('rename in the code only, `msgspec.field(name="cents")`', STRUCT, StructRenamedInCode("ann", 5)),
    ("rename in the request: Struct, dataclass, pydantic", STRUCT, StructRenamed("ann", 5)),
    ("rename: NamedTuple, whose fields are stored by their place", Tuple("ann", 5), TupleRenamed("ann", 5)),
    ("remove a field: Struct, dataclass, pydantic", STRUCT, StructLess("ann")),
    ("remove a field: Struct, dataclass, pydantic", Data("ann", 5), DataLess("ann")),
    ("remove a field: Struct, dataclass, pydantic", MODEL, ModelLess(account="ann")),
    ("remove a field: NamedTuple", Tuple("ann", 5), TupleLess("ann")),
    ("change a type, `int` to `str`", STRUCT, StructText("ann", "5")),
]


def can_read(reader: type[Any], request: Any) -> bool:
    (body,) = Serializer(type(request)).encode_all((request,))
    try:
        Serializer(reader).decode_one(body)
    except SerializationError:
        return False
    return True


@pytest.mark.parametrize(("change", "old", "new"), ROWS)
def test_each_row_of_the_table_is_true(change: str, old: Any, new: Any) -> None:
    page = (EXAMPLES / "evolving" / "README.md").read_text()
    (row,) = re.findall(rf"^\| {re.escape(change)} \| (\w+) \| (\w*)", page, re.MULTILINE)

    assert row[0] == ("yes" if can_read(type(new), old) else "no")
    assert row[1] in ("", "yes" if can_read(type(old), new) else "no")


def test_no_row_of_the_table_is_untested() -> None:
    page = (EXAMPLES / "evolving" / "README.md").read_text()
    table = page.partition("| change | new code")[2].partition("\n\n")[0]

    assert {change for change, *_ in ROWS} == set(re.findall(r"^\| (?!-)(.+?) \| (?:yes|no)", table, re.MULTILINE))
