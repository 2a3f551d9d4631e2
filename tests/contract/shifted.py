"""A redis-server whose wall clock a test sets, and the backend on it."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.harness.requirements import lack
from tools.redis_server import RedisServer

SOURCE = Path(__file__).with_name("shifted_clock.c")


def require_compiler() -> str:
    """The machine's C compiler; a skip, or an error in CI, without."""
    found = shutil.which("cc")
    if not found:
        lack("no cc on PATH, which compiles the clock that is set back (Debian: apt install gcc libc6-dev)")
    return found


@cache
def compiled(folder: Path) -> Path:
    library = folder / "shifted_clock.so"
    subprocess.run([require_compiler(), "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library


class ShiftedServer(RedisServer):
    """Its clock is ahead of or behind that of the machine, as `set_clock` says."""

    def __init__(self, folder: Path, **options: str) -> None:
        super().__init__(folder, **options)
        self._shift = folder / "shift"
        self.set_clock(0)

    def set_clock(self, seconds: int) -> None:
        fresh = self._shift.with_suffix(".new")  # never seen half written
        fresh.write_text(str(seconds))
        fresh.rename(self._shift)

    def _command(self) -> list[str]:
        shim = [f"LD_PRELOAD={compiled(self.folder)}", f"CLOCK_SHIFT={self._shift}"]
        return ["env", *shim, *super()._command()]
