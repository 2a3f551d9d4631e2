"""Dead letters by their numbers."""

from collections.abc import Sequence

from sharded_queue.backends.memory.shard import MemoryShard
from sharded_queue.storage import LetterPage


def read_letters(shard: MemoryShard, numbers: Sequence[int]) -> LetterPage:
    return LetterPage(len(numbers), [shard.letters[number] for number in numbers if number in shard.letters])
