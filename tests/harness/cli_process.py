"""A program under test: started as a user starts it, waited for by what it says, ended for sure."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SECONDS = 30.0


class CommandProcess:
    """*command* in the folder *place*; *environment* goes over ours."""

    def __init__(self, command: Sequence[str], *, place: Path, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=place,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []
        self._news = threading.Condition()
        self.is_silent = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._news:
                self.said.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.is_silent = True
            self._news.notify_all()

    @property
    def text(self) -> str:
        return "\n".join(self.said)

    def line(self, part: str | re.Pattern[str], times: int = 1) -> str:
        """Wait for *times* lines with *part* in them; the first one."""
        pattern = re.compile(re.escape(part)) if isinstance(part, str) else part
        deadline = time.monotonic() + SECONDS
        with self._news:
            while len(found := [line for line in self.said if pattern.search(line)]) < times:
                waited = not self.is_silent and self._news.wait(deadline - time.monotonic())
                assert waited, f"it never said {part!r}, but:\n{self.text}"
            return found[0]

    def tell(self, what: signal.Signals) -> None:
        self.process.send_signal(what)

    def ended(self) -> int:
        """Wait for its end, and for all that it had to say; the exit code."""
        try:
            code = self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end, but said:\n{self.text}") from None
        with self._news:
            assert self._news.wait_for(lambda: self.is_silent, SECONDS), "something it started still talks"
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        with self._news:
            self._news.wait_for(lambda: self.is_silent, SECONDS)
        self.process.stdout.close()


class CliProcess(CommandProcess):
    """`python -m sharded_queue WORDS`."""

    def __init__(self, *words: str, place: Path, environment: Mapping[str, str] | None = None) -> None:
        super().__init__([sys.executable, "-m", "sharded_queue", *words], place=place, environment=environment)
