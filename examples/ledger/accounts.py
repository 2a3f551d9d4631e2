"""
Accounts in SQLite or PostgreSQL. An account has one writer, the worker with the fence that is stored beside it: a write
with another fence changes nothing.

`python accounts.py` creates the tables.
"""

import os
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import bindparam, create_engine, text

engine = create_engine(os.environ.get("LEDGER_DATABASE", "sqlite:///ledger.sqlite3"))

ACCOUNTS = text("""
CREATE TABLE accounts (
  name TEXT PRIMARY KEY,
  balance BIGINT NOT NULL,
  entries BIGINT NOT NULL,
  fence BIGINT NOT NULL
)""")
ENTRIES = text("""
CREATE TABLE entries (
  account TEXT NOT NULL REFERENCES accounts,
  number BIGINT NOT NULL,
  id TEXT NOT NULL UNIQUE,
  cents BIGINT NOT NULL,
  balance BIGINT NOT NULL,
  fence BIGINT NOT NULL,
  PRIMARY KEY (account, number)
)""")

CLAIM = text("""
INSERT INTO accounts (name, balance, entries, fence) VALUES (:name, 0, 0, :fence)
ON CONFLICT (name) DO UPDATE SET fence = excluded.fence WHERE accounts.fence <= excluded.fence
RETURNING balance, entries""")
KNOWN = text("SELECT id FROM entries WHERE account = :name AND id IN :ids").bindparams(bindparam("ids", expanding=True))
UPDATE = text("UPDATE accounts SET balance = :balance, entries = :entries WHERE name = :name AND fence = :fence")
INSERT = text("INSERT INTO entries VALUES (:account, :number, :id, :cents, :balance, :fence)")


class Entry(NamedTuple):
    account: str
    id: str  # made by the producer, once for each entry
    cents: int


class Account(NamedTuple):
    """What its writer knows of an account."""

    name: str
    fence: int
    balance: int
    entries: int


class Overtaken(Exception):
    """Another worker has become the writer of the account."""


def claim(name: str, fence: int) -> Account:
    """Become the writer of an account, and read it. From here on, no worker with an older fence can change it."""
    with engine.begin() as database:
        row = database.execute(CLAIM, {"name": name, "fence": fence}).one_or_none()
    if row is None:
        raise Overtaken(f"account {name} has a newer fence than {fence}")
    return Account(name, fence, *row)


def known(account: Account, ids: list[str]) -> set[str]:
    """Those of *ids* that were booked before."""
    with engine.connect() as database:
        return set(database.scalars(KNOWN, {"name": account.name, "ids": ids}))


def book(account: Account, entries: Iterable[Entry]) -> Account:
    """Write all entries and the balance after them, or nothing."""
    rows = []
    for entry in entries:
        account = account._replace(balance=account.balance + entry.cents, entries=account.entries + 1)
        rows.append(entry._asdict() | {"number": account.entries, "balance": account.balance, "fence": account.fence})
    with engine.begin() as database:
        if database.execute(UPDATE, account._asdict()).rowcount == 0:
            raise Overtaken(f"account {account.name} has another fence than {account.fence}")
        database.execute(INSERT, rows)
    return account


if __name__ == "__main__":
    with engine.begin() as database:
        database.execute(ACCOUNTS)
        database.execute(ENTRIES)
