"""Other queues, each in an environment of its own under `.cache/bench`."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLACE = ROOT / ".cache" / "bench"
SCRIPTS = ROOT / "bench" / "competitors"


@dataclass(frozen=True, slots=True)
class Competitor:
    """*packages* pins the measured versions; none: it runs in the environment of this project."""

    name: str
    script: str
    packages: tuple[str, ...]
    remark: str

    @property
    def is_node(self) -> bool:
        return self.script.endswith(".mjs")

    @property
    def folder(self) -> Path:
        return PLACE / self.script.partition(".")[0]


STREAQ_BENCHMARK = "[streaQ's benchmark](https://github.com/tastyware/streaq/tree/master/benchmarks)"
OURS = Competitor("this project", "run_ours.py", (), "at its best, batches of 128 and 128 threads at a time")
PREDECESSOR = Competitor(
    "sharded-queue 0.2.10",
    "run_predecessor.py",
    ("sharded-queue==0.2.10", "redis==8.1.0", "hiredis==3.5.0", "pydantic-settings==2.16.3", "python-dateutil==4.0.0"),
    "batches of 128; its 1.6 s wait on each drained thread switched off; no lease, no fence, no retry",
)
ARQ = Competitor(
    "arq 0.28.0",
    "run_arq.py",
    ("arq==0.28.0", "redis==5.3.1", "hiredis==3.5.0"),
    f"polls each millisecond instead of each half second; at its best 32 jobs at a time, as in {STREAQ_BENCHMARK}; no "
    "bulk call, so 32 calls at the same time; a key per job",
)
HUEY = Competitor(
    "huey 3.5.4",
    "run_huey.py",
    ("huey==3.5.4", "redis==8.1.0", "hiredis==3.5.0"),
    "`results=False`; at its best [several OS threads](https://huey.readthedocs.io/en/latest/consumer.html), here "
    "four; no bulk call; synchronous; a job is removed when it is taken, so a crash loses it",
)
RQ = Competitor(
    "rq 3.0.0",
    "run_rq.py",
    ("rq==3.0.0", "redis==8.1.0", "hiredis==3.5.0"),
    "[SimpleWorker](https://python-rq.org/docs/workers/), so without its usual process per job (by default, with it); "
    "[`enqueue_many`](https://python-rq.org/docs/) at its best; keeps a hash per job; synchronous",
)
SAQ = Competitor(
    "SAQ 0.26.4",
    "run_saq.py",
    ("saq==0.26.4", "redis==8.1.0", "hiredis==3.5.0", "typing_extensions==4.16.0"),
    f"at its best 32 jobs at a time, as in {STREAQ_BENCHMARK}; no bulk call, so 32 calls at the same time; keeps a "
    "record per job, whose state it writes at each step",
)
STREAQ = Competitor(
    "streaQ 7.2.0",
    "run_streaq.py",
    ("streaq==7.2.0", "coredis==6.9.0", "uvloop==0.23.0"),
    "at its best `enqueue_many`, 32 jobs at a time, uvloop and coredis without checks, as in "
    f"{STREAQ_BENCHMARK}; no results kept; this project, arq and SAQ run on asyncio's own event loop",
)
BULLMQ = Competitor(
    "BullMQ 6.7.0",
    "run_bullmq.mjs",
    ("bullmq@6.7.0", "ioredis@5.11.1"),
    "on Node; at its best [`addBulk`](https://docs.bullmq.io/guide/queues/adding-bulks) and [100 jobs at a "
    "time](https://docs.bullmq.io/guide/parallelism-and-concurrency); finished jobs removed; groups and batches are in "
    "its commercial edition, which was not measured",
)
CELERY = Competitor(
    "Celery 5.7.0",
    "failing_celery.py",
    ("celery==5.7.0", "redis==8.1.0", "packaging"),
    "on Redis; only its order was looked at",
)
OTHERS = (ARQ, HUEY, RQ, SAQ, STREAQ, BULLMQ)


def program_of(competitor: Competitor) -> list[str] | None:
    """
    How its script is started. Its environment is made anew if it is missing or has other versions.

    None, with a printed reason, if its language is missing here.
    """
    script = str(SCRIPTS / competitor.script)
    if not competitor.packages:
        return [sys.executable, script]
    if competitor.is_node and not (shutil.which("node") and shutil.which("npm")):
        print(f"{competitor.name} is left out: node and npm are not installed here", flush=True)
        return None
    note, wanted = competitor.folder / "packages", "\n".join(competitor.packages)
    if not (note.exists() and note.read_text() == wanted):
        print(f"installing {competitor.name} into {competitor.folder.relative_to(ROOT)}", flush=True)
        (install_node if competitor.is_node else install_python)(competitor)
        note.write_text(wanted)
    return ["node", script] if competitor.is_node else [str(competitor.folder / "bin" / "python"), script]


def install_python(competitor: Competitor) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", competitor.folder], check=True)
    python = competitor.folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *competitor.packages], check=True)


def install_node(competitor: Competitor) -> None:
    shutil.rmtree(competitor.folder, ignore_errors=True)
    competitor.folder.mkdir(parents=True)
    (competitor.folder / "package.json").write_text('{"private": true}')
    options = ("--no-audit", "--no-fund", "--ignore-scripts", "--save-exact", "--loglevel=error")
    subprocess.run(["npm", "install", *options, *competitor.packages], cwd=competitor.folder, check=True)


def worker() -> Path:
    """The program `sharded-queue` in an environment that has what its image has, with this code."""
    folder, lock = PLACE / "worker", ROOT / "worker" / "requirements.lock"
    program, note = folder / "bin" / "sharded-queue", folder / "packages"
    if not (note.exists() and note.read_text() == lock.read_text()):
        print(f"installing the packages of the worker's image into {folder.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = (folder / "bin" / "python", "-m", "pip", "install", "--quiet")
        subprocess.run([*install, "--require-hashes", "-r", lock], check=True)
        subprocess.run([*install, "--no-deps", "--editable", ROOT], check=True)
        note.write_text(lock.read_text())
    return program
