"""Other queues, each in an environment of its own under `.cache/bench`, and what their runs report."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PLACE = ROOT / ".cache" / "bench"
SECONDS = 180


@dataclass(frozen=True, slots=True)
class Competitor:
    """*packages* pins the measured versions. *count* is the number of requests: enough for a second or so."""

    name: str
    script: str
    packages: tuple[str, ...]
    count: int
    remark: str


PREDECESSOR = Competitor(
    "sharded-queue 0.2.10",
    "run_predecessor.py",
    ("sharded-queue==0.2.10", "redis==8.1.0", "hiredis==3.5.0", "pydantic-settings==2.16.3", "python-dateutil==4.0.0"),
    20_000,
    "batches of 128; its 1.6 s wait on each drained thread switched off; no lease, no fence, no retry",
)
OTHERS = (
    Competitor(
        "arq 0.28.0",
        "run_arq.py",
        ("arq==0.28.0", "redis==5.3.1", "hiredis==3.5.0"),
        2_000,
        "`max_jobs=1`, as order asks for, and a poll each millisecond instead of each half second, by which such a "
        "worker is bound; a key per job, retries; no bulk enqueue",
    ),
    Competitor(
        "rq 2.12.0",
        "run_rq.py",
        ("rq==2.12.0", "redis==8.1.0", "hiredis==3.5.0"),
        1_000,
        "SimpleWorker, so without its usual process per job; keeps a hash per job; synchronous",
    ),
)


def python_of(competitor: Competitor) -> Path:
    """The interpreter of a competitor's environment, which is made anew if it is missing or has other versions."""
    folder = PLACE / competitor.script.removesuffix(".py")
    python, note = folder / "bin" / "python", folder / "packages"
    wanted = "\n".join(competitor.packages)
    if not (note.exists() and note.read_text() == wanted):
        print(f"installing {competitor.name} into {folder.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *competitor.packages], check=True)
        note.write_text(wanted)
    return python


def run(python: Path, script: str, port: int, count: int, threads: int) -> dict[str, Any]:
    """Run a script of `competitors/` once, and return its report."""
    command = [python, ROOT / "bench" / "competitors" / script, str(port), str(count), str(threads)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=PLACE)
    if ended.returncode:
        raise RuntimeError(f"{script} failed:\n{ended.stderr[-2000:]}")
    return json.loads(ended.stdout.splitlines()[-1])
