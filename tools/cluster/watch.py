"""
Waits for a state of an object by a watch of the API server, without polling.
"""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

Object = dict[str, Any]


def wait_until(watch: list[str], env: dict[str, str], condition: Callable[[Object], Any], *, seconds: float) -> Object:
    """
    The first state of the watched objects for which *condition* is true. A deleted object is passed as an empty one.

    A missing key makes the condition false, so `lambda it: it["status"]["replicas"] == 3` works from the start.

    Raises:
        TimeoutError: with the last state that was seen.
    """
    process = subprocess.Popen(watch, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    deadline = threading.Timer(seconds, process.kill)
    deadline.start()
    began, last = time.monotonic(), None
    assert process.stdout
    try:
        for last in states(process.stdout):
            if _holds(condition, last):
                return last
    finally:
        deadline.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
    seen = json.dumps(last, indent=1) if last is not None else "never seen"
    raise TimeoutError(f"not after {time.monotonic() - began:.1f} s: {' '.join(watch)}\n{seen}")


def states(lines: IO[str]) -> Iterator[Object]:
    """
    The objects of `kubectl get --output=json --watch --output-watch-events`, one per line, as they arrive.
    """
    for line in lines:
        event = json.loads(line)
        yield {} if event["type"] == "DELETED" else event["object"]


def _holds(condition: Callable[[Object], Any], state: Object) -> bool:
    try:
        return bool(condition(state))
    except (KeyError, IndexError, TypeError):
        return False
