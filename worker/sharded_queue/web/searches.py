"""Searches of dead letters: each once for all pages, and none by the event loop."""

import asyncio
from collections.abc import Callable

from sharded_queue.admin.bodies import Bodies
from sharded_queue.admin.search import Found, Search, look_through
from sharded_queue.errors import ShardedQueueError
from sharded_queue.web.details import Answer, Question
from sharded_queue.web.waiting_room import Busy, WaitingRoom

MOST_SEARCHES = 32
"""Searches that wait. One is made at a time: OS threads would only take turns with each other."""


class TooManySearches(ShardedQueueError):
    """So many wait already that the next one would take seconds."""


class Searches:
    """Answers what a search finds from the letters that were read last. *known*: the last answer to a question."""

    def __init__(self, known: Callable[[Question], Answer], bodies: Bodies) -> None:
        self._known, self._bodies = known, bodies
        self._room = WaitingRoom(1, MOST_SEARCHES)

    async def find(self, question: Question) -> Found:
        """
        What was found before, if the letters were not read again since.

        Raises:
            TooManySearches: many wait already.
        """
        before = self._known(question).value
        if before and before.read_at == self._letters(question).at:
            return before  # type: ignore[no-any-return]  # the value of an answer may be anything
        try:
            async with self._room.enter():
                return await self._look_through(self._letters(question), question)
        except Busy as error:
            raise TooManySearches(f"{MOST_SEARCHES} searches are waiting: reload the page later") from error

    def _letters(self, question: Question) -> Answer:
        return self._known(Question("letters", question.handler))

    async def _look_through(self, letters: Answer, question: Question) -> Found:
        search, there = Search(*question.search), letters.value or []
        return await asyncio.to_thread(look_through, there, search, question.handler, self._bodies, letters.at)
