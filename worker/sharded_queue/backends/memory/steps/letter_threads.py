"""Where dead letters would be put back."""

from collections.abc import Sequence

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.serializer import STAMP_DIGITS
from sharded_queue.storage import LetterThread


def letter_threads(shard: MemoryShard, numbers: Sequence[int]) -> list[LetterThread]:
    found = [(number, shard.letters[number]) for number in numbers if number in shard.letters]
    return [
        LetterThread(number, shard.thread_in_force(letter.thread, letter.message[STAMP_DIGITS:]), len(letter.message))
        for number, letter in found
    ]
