"""
`killed.py before|after PROGRAM WORDS…`: a program that gets SIGKILL when it registers for the first time, before Redis
has got the requests, or after.
"""

import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

from sharded_queue import SyncQueue

_, when, *words = sys.argv
register = SyncQueue.register


def killed(self: SyncQueue, *requests: Any, **options: Any) -> None:
    if when == "after":
        register(self, *requests, **options)
    os.kill(os.getpid(), signal.SIGKILL)


SyncQueue.register = killed  # type: ignore[method-assign,assignment]
sys.argv = words
sys.path.insert(0, str(Path.cwd()))
runpy.run_path(words[0], run_name="__main__")
