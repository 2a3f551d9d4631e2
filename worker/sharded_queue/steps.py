"""Any number of requests, in bounded steps of a storage, each of which is atomic."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from sharded_queue.storage import STEP_NUMBERS


async def in_steps(
    numbers: Sequence[int], step: Callable[[Sequence[int]], Awaitable[list[int]]]
) -> AsyncIterator[list[int]]:
    """
    Call *step* for these numbers in their order, and again for those of a step that were too large for it. Yields what
    each call did; what is never yielded cannot be done.
    """
    for begin in range(0, len(numbers), STEP_NUMBERS):
        part = numbers[begin : begin + STEP_NUMBERS]
        while part and (done := await step(part)):
            yield done
            did = set(done)
            part = [number for number in part if number not in did]
