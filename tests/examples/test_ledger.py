"""The ledger on real databases: workers that are killed, and workers that write after they were overtaken."""

import re
import runpy
import signal
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from sharded_queue import Handler, Queue, RedisStorage, Route
from sharded_queue.state import ShardState
from tests.examples.recipe import Recipe, evict, killed, stopped
from tests.harness.cli_process import CommandProcess
from tests.harness.postgres_server import PostgresServer
from tools.redis_server import Ask, RedisServer

pytestmark = pytest.mark.redis
AMOUNTS = [500, -120, 80, -30, 70, 200, -90, 10]
WORKER = "sharded-queue worker ledger"
NAMES = ["ann", "bob", "cem"]
WITHOUT_UNIQUENESS = {" UNIQUE": "", ",\n  PRIMARY KEY (account, number)": ""}
WITHOUT_CLAIM = {
    "SET fence = excluded.fence WHERE accounts.fence <= excluded.fence": "SET name = excluded.name",
    "entries = :entries WHERE name = :name AND fence = :fence": (
        "entries = :entries, fence = :fence WHERE name = :name AND fence <= :fence"
    ),
}


class LedgerHandler(Handler):
    """Registers as the example's own handler does, without a process that imports it."""

    name = "ledger.LedgerHandler"

    @classmethod
    async def route(cls, *entries: tuple[str, str, int]) -> list[Route]:
        return [Route(account) for account, _, _ in entries]

    async def perform(self, *entries: tuple[str, str, int]) -> None: ...


class Line(NamedTuple):
    number: int
    cents: int
    balance: int
    fence: int


class Ledger:
    """The example on a database of its own."""

    def __init__(self, recipe: Recipe, url: str, ask: Ask) -> None:
        self.recipe, self.url, self.ask = recipe, url, ask
        runpy.run_path(str(recipe.folder / "accounts.py"), run_name="__main__")["engine"].dispose()

    def query(self, question: str, **values: Any) -> list[Any]:
        with create_engine(self.url, poolclass=NullPool).connect() as database:
            return list(database.execute(text(question), values))

    def register(self, name: str, *amounts: int) -> None:
        entries = [(name, uuid4().hex, cents) for cents in amounts]
        self.ask(lambda redis: Queue(RedisStorage(redis)).register(LedgerHandler, *entries))

    def rename(self, table: str, name: str) -> None:
        with create_engine(self.url, poolclass=NullPool).begin() as database:
            database.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))

    def states(self) -> list[ShardState]:
        return self.ask(lambda redis: RedisStorage(redis).observe(LedgerHandler.all_shards()))

    def worker(self, name: str) -> CommandProcess:
        return self.recipe.start(WORKER, QUEUE_WORKER_NAME=name)

    def interrupted(self, how: str, name: str) -> CommandProcess:
        return self.recipe.interrupted(how, "accounts.book", WORKER, QUEUE_WORKER_NAME=name)

    def evict(self, name: str) -> None:
        evict(self.ask, LedgerHandler.name, name)

    def lines(self, name: str) -> list[Line]:
        rows = self.query("SELECT number, cents, balance, fence FROM entries WHERE account = :name", name=name)
        return sorted(Line(*row) for row in rows)

    def assert_is_right(self, name: str, amounts: list[int]) -> None:
        """Every entry was booked once, in order, under fences that never fall, and the balance is their sum."""
        lines = self.lines(name)
        assert [line.cents for line in lines] == amounts
        assert [line.number for line in lines] == list(range(1, len(amounts) + 1))
        assert [line.balance for line in lines] == list(accumulate(amounts))
        assert [line.fence for line in lines] == sorted(line.fence for line in lines)
        account = "SELECT balance, entries FROM accounts WHERE name = :name"
        assert self.query(account, name=name) == [(sum(amounts), len(amounts))]


Open = Callable[..., Ledger]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    server = PostgresServer().start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite3"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    with create_engine(server.url, poolclass=NullPool).begin() as database:
        database.execute(text("DROP TABLE IF EXISTS entries, accounts"))
    return server.url


@pytest.fixture
def opened(
    ask: Ask, redis_server: RedisServer, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """Opens the ledger as it is printed, or a copy of it in which parts of `accounts.py` are replaced."""
    recipes: list[Recipe] = []
    monkeypatch.setenv("LEDGER_DATABASE", url)

    def make(changes: dict[str, str] | None = None, **environment: str) -> Ledger:
        parts = {"accounts.py": changes or {}}
        copy = tmp_path / "copy"
        leases = {"QUEUE_COORDINATOR_LEASE": "60"}  # none ends while a test goes on
        recipes.append(Recipe("ledger", redis_server, copy=copy, changes=parts, **leases, **environment))
        return Ledger(recipes[-1], url, ask)

    yield make
    for recipe in recipes:
        recipe.__exit__()


@pytest.mark.usefixtures("ask")
def test_the_commands_of_the_page_book_entries(redis_server: RedisServer, tmp_path: Path) -> None:
    with Recipe("ledger", redis_server, LEDGER_DATABASE=f"sqlite:///{tmp_path}/ledger.sqlite3") as recipe:
        _, worker, _ = recipe.follow()

        worker.line("ann: 2 booked, 0 known, 2 in all")


def test_a_worker_that_is_killed_after_its_commit_books_nothing_twice(opened: Open) -> None:
    """The queue did not learn of it, so the next worker gets the same entries again."""
    ledger = opened()
    ledger.register("ann", *AMOUNTS)
    killed(ledger.interrupted("KILL after", "killed"))
    ledger.evict("killed")
    assert len(ledger.lines("ann")) == len(AMOUNTS)

    ledger.register("ann", 1)
    ledger.worker("next").line("9 in all")
    ledger.assert_is_right("ann", [*AMOUNTS, 1])


def test_accounts_are_right_whatever_is_killed(opened: Open) -> None:
    ledger = opened(QUEUE_WORKER_BATCH_SIZE="3", QUEUE_WORKER_CONCURRENCY="3")
    for name in NAMES:
        ledger.register(name, *AMOUNTS * 5)
    for number in range(3):
        worker = ledger.worker(f"worker-{number}")
        worker.line("booked")
        worker.kill()
        ledger.evict(f"worker-{number}")

    last = ledger.worker("last")
    for name in NAMES:
        ledger.register(name, 1)
        last.line(re.compile(rf"\] {name}: .* {5 * len(AMOUNTS) + 1} in all"))
        ledger.assert_is_right(name, [*AMOUNTS * 5, 1])


def test_no_entry_passes_one_that_could_not_be_booked(opened: Open) -> None:
    """The database is away for longer than the tries last: the accounts stand still, and one command books the rest."""
    ledger = opened(QUEUE_RETRY_LIMIT="3", QUEUE_RETRY_CAP="0.01")
    ledger.rename("entries", "away")
    for name in NAMES:
        ledger.register(name, *AMOUNTS)
    worker = ledger.worker("a")
    for name in NAMES:
        worker.line(re.compile(rf"/{name}/.* stops its thread"))
    assert [state.exhausted for state in ledger.states()] == [len(NAMES)]
    ledger.rename("away", "entries")
    said = ledger.recipe.run("sharded-queue resume ledger.LedgerHandler --exhausted")
    assert "3 threads of ledger.LedgerHandler are tried again" in said
    for name in NAMES:
        ledger.register(name, 1)
        worker.line(re.compile(rf"\] {name}: .* {len(AMOUNTS) + 1} in all"))
        ledger.assert_is_right(name, [*AMOUNTS, 1])
    assert [(state.letters, state.exhausted) for state in ledger.states()] == [(0, 0)]


def overtaken(ledger: Ledger) -> tuple[CommandProcess, CommandProcess]:
    """A worker stands still before it writes. When another one has taken over and booked everything, it wakes up."""
    ledger.register("ann", *AMOUNTS)
    late = ledger.interrupted("STOP before", "late")
    stopped(late)
    ledger.evict("late")
    following = ledger.worker("following")
    following.line("ann: 8 booked")
    late.tell(signal.SIGCONT)
    return late, following


def overtaken_while_reading(ledger: Ledger) -> tuple[CommandProcess, CommandProcess]:
    """As above, but it wakes up when the other one has read the account, and not yet written to it."""
    ledger.register("ann", *AMOUNTS)
    late = ledger.interrupted("STOP before", "late")
    stopped(late)
    ledger.evict("late")
    following = ledger.interrupted("STOP before", "following")
    stopped(following)
    late.tell(signal.SIGCONT)
    return late, following


def test_a_worker_that_writes_late_changes_nothing(opened: Open) -> None:
    """By the fence alone: without the unique constraints."""
    ledger = opened(WITHOUT_UNIQUENESS)
    late, following = overtaken(ledger)
    late.line("accounts.book raised Overtaken")
    ledger.assert_is_right("ann", AMOUNTS)

    following.tell(signal.SIGTERM)
    assert following.ended() == 0
    ledger.register("ann", 7)
    late.line("ann: 1 booked, 0 known, 9 in all")
    ledger.assert_is_right("ann", [*AMOUNTS, 7])


def test_what_a_worker_read_stays_true_until_it_writes(opened: Open) -> None:
    """By the fence alone, too."""
    ledger = opened(WITHOUT_UNIQUENESS)
    late, following = overtaken_while_reading(ledger)
    late.line("accounts.book raised Overtaken")
    following.tell(signal.SIGCONT)
    following.line("accounts.book returned")
    ledger.assert_is_right("ann", AMOUNTS)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_without_the_fence_a_late_worker_books_twice(opened: Open) -> None:
    ledger = opened({**WITHOUT_UNIQUENESS, " AND fence = :fence": ""})
    late, _ = overtaken(ledger)
    late.line("accounts.book returned")

    with pytest.raises(AssertionError):
        ledger.assert_is_right("ann", AMOUNTS)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_fence_that_is_written_only_with_the_entries_comes_too_late(opened: Open) -> None:
    ledger = opened(WITHOUT_UNIQUENESS | WITHOUT_CLAIM)
    late, following = overtaken_while_reading(ledger)
    late.line("accounts.book returned")
    following.tell(signal.SIGCONT)
    following.line("accounts.book returned")

    with pytest.raises(AssertionError):
        ledger.assert_is_right("ann", AMOUNTS)
