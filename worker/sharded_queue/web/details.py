"""
What single pages need beyond the state of all handlers: why a thread waits, the requests of a tube, dead letters.

Equal questions of many pages are one read. A budget bounds all of them together: a read a second in the long run, and a
few at once when a person opens a page.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sharded_queue.errors import ShardedQueueError, StorageUnavailable, UnreadableData

READS_A_SECOND = 0.9
READS_AT_ONCE = 20
"""What a person who clicks through pages may use before answers come from memory."""
FRESH_SECONDS = 1.0
"""An answer of this age is as good as a new one."""
KEPT_SECONDS = 120.0
MOST_KEPT = 1000
FREE_SECONDS = 0.2
"""In each round, for answers that come from memory: searches. Those that are left come first in the next one."""


class Question(NamedTuple):
    """What to read. *kind* names the read, and the rest are its arguments."""

    kind: str
    handler: str = ""
    thread: str = ""
    number: int = 0
    after: int | None = None
    search: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """*value* is None where there is an *error*. *at*: when it was read, in seconds since 1970."""

    value: Any = None
    error: str = ""
    at: float = 0.0

    @property
    def age_seconds(self) -> float:
        return max(0.0, time.time() - self.at)


NOTHING = Answer(error="not read yet")

Read = Callable[[Question], Awaitable[Any]]


class Details:
    """
    *reads*: how to read each kind of question. *cost*: how many calls of a script one read of it is; 0 where it comes
    from other answers.
    """

    def __init__(
        self,
        reads: Mapping[str, Read],
        cost: Callable[[Question], int] = lambda _: 1,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reads, self.cost, self._elapsed = reads, cost, elapsed
        self.answers: dict[Question, Answer] = {}
        self.wanted: set[Question] = set()
        """What open pages show now."""
        self._reading: dict[Question, asyncio.Task[Answer]] = {}
        self._room, self._filled_at = float(READS_AT_ONCE), elapsed()

    def known(self, question: Question) -> Answer:
        """The last answer, without a read."""
        return self.answers.get(question, NOTHING)

    async def fetch(self, questions: Iterable[Question]) -> None:
        """Have answers that are fresh, or as fresh as the budget allows."""
        for question in questions:
            cost = self.cost(question)
            if not cost and question in self._reading:  # from answers that may be older than those just read
                await self._read(question)
            if not cost or (self.known(question).age_seconds > FRESH_SECONDS and self._take(cost)):
                await self._read(question)

    async def refresh(self) -> None:
        """Read the oldest answer that open pages show, if the budget allows it, and for a while those without cost."""
        self._forget()
        stalest = sorted(self.wanted, key=lambda question: self.known(question).at)
        for question in [question for question in stalest if self.cost(question)][:1]:
            if self._take(self.cost(question)):
                await self._read(question)
        end = self._elapsed() + FREE_SECONDS
        for question in [question for question in stalest if not self.cost(question)]:
            if self._elapsed() < end:
                await self._read(question)

    async def _read(self, question: Question) -> Answer:
        """Read once, however many ask meanwhile."""
        task = self._reading.get(question)
        if task is None:
            task = asyncio.ensure_future(self._ask(question))
            self._reading[question] = task
            task.add_done_callback(lambda _: self._reading.pop(question, None))
        return await asyncio.shield(task)

    async def _ask(self, question: Question) -> Answer:
        try:
            answer = Answer(await self.reads[question.kind](question), at=time.time())
        except UnreadableData as error:
            answer = Answer(error=str(error), at=time.time())
        except StorageUnavailable as error:
            before = self.known(question)
            answer = Answer(before.value, str(error), before.at)
        except ShardedQueueError as error:
            answer = Answer(error=str(error), at=time.time())
        self.answers[question] = answer
        return answer

    def _take(self, reads: int) -> bool:
        now = self._elapsed()
        self._room = min(READS_AT_ONCE, self._room + (now - self._filled_at) * READS_A_SECOND)
        self._filled_at = now
        if reads and self._room < min(reads, READS_AT_ONCE):
            return False
        self._room -= reads
        return True

    def forget(self, handler: str) -> None:
        """After an action: what was read of this handler may be wrong now."""
        for question in [each for each in self.answers if each.handler == handler]:
            del self.answers[question]

    def _forget(self) -> None:
        for question, answer in list(self.answers.items()):
            kept_seconds = KEPT_SECONDS if self.cost(question) else FRESH_SECONDS  # what was found keeps old letters
            if question not in self.wanted and (answer.age_seconds > kept_seconds or len(self.answers) > MOST_KEPT):
                del self.answers[question]
