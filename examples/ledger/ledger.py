"""
The handler of the ledger: `sharded-queue worker ledger`.

`python ledger.py ann 500 -120` registers entries of an account.
"""

import logging
import sys
from uuid import uuid4

from accounts import Account, Entry, book, claim, known

from sharded_queue import Handler, Retry, Route, SyncQueue, current

log = logging.getLogger("ledger")


class LedgerHandler(Handler[Entry]):
    retry = Retry(exhausted="pause")  # no entry is booked before one that could not be booked yet
    account: Account | None = None
    """The account as this worker left it: while its fence is stored, no other worker writes the account."""

    @classmethod
    async def route(cls, *entries: Entry) -> list[Route]:
        return [Route(entry.account) for entry in entries]

    def perform(self, *entries: Entry) -> None:
        account = self.account or claim(entries[0].account, current().lease.fence)
        self.account = None  # an error below leaves open what was written: the next try reads the account
        booked = known(account, [entry.id for entry in entries])
        new = {entry.id: entry for entry in entries if entry.id not in booked}
        self.account = book(account, new.values()) if new else account
        known_before, in_all = len(entries) - len(new), self.account.entries
        log.info("%s: %d booked, %d known, %d in all", account.name, len(new), known_before, in_all)


if __name__ == "__main__":
    _, name, *amounts = sys.argv
    SyncQueue().register(LedgerHandler, *[Entry(name, uuid4().hex, int(cents)) for cents in amounts])
