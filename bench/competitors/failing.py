"""
What the scripts `failing_*.py` share. `python failing_X.py PORT FAILS DELAY`: ten jobs of one key are registered in
order, then one worker with one job at a time serves until it is killed. With FAILS 1 the third job fails at its first
try, and is tried again DELAY seconds later by the queue's own means. The jobs note in Redis which one began.
"""

import sys

from redis import Redis

PORT, FAILS, DELAY = int(sys.argv[1]), sys.argv[2] == "1", int(sys.argv[3])
JOBS = range(1, 11)
FAILING = 3


def note(number: int) -> bool:
    """Returns whether this try is to fail."""
    with Redis(port=PORT) as redis:
        redis.rpush("begun", number)
        return FAILS and number == FAILING and redis.incr("tries") == 1
