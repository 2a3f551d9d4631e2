"""
From nothing: in a bare Debian, what the README and the tutorial print, as they print it, and nothing else.

`make from-nothing` runs it; `make test` does not, because it installs a system, and packages from their registries.
Two things stand in for what is not here: the wheel of this checkout for the one on PyPI (`PIP_FIND_LINKS`), and a
checkout that is copied for one that is cloned. `make test` and the cluster of the README have tests of their own.
"""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.requirements import lack

ROOT = Path(__file__).parents[2]
FENCE = re.compile(
    r"^(?:`(?P<file>[\w.]+)`:\n\n)?(?P<mark><!-- .*? -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```", re.M | re.S
)
PASSED_ON = re.compile(r"PIP_\w+|UV_\w+|SSL_CERT_\w+|\w+_PROXY|\w+_proxy")
"""How this machine reaches the registries of packages."""
SECONDS = 900


class Step(NamedTuple):
    """A file that the page wants written, or commands that it wants typed."""

    file: str | None
    text: str


class Bare:
    """A Debian with nothing but what `minbase` has, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = ["mmdebstrap", "--quiet", "--variant=minbase", "bookworm", folder, _sources()]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=SECONDS)
        (folder / "usr/sbin/policy-rc.d").write_text(
            "#!/bin/sh\nexit 101\n"
        )  # as in a container: nothing starts services
        (folder / "usr/sbin/policy-rc.d").chmod(0o755)
        shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
        shutil.copy("/etc/hosts", folder / "etc/hosts")
        (folder / "wheels").mkdir()
        for wheel in (ROOT / "dist").glob("*.whl"):
            shutil.copy(wheel, folder / "wheels")
        self.env = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
        for name, path in [(name, Path(value)) for name, value in self.env.items()]:
            if path.is_absolute() and path.exists():  # certificates, apart from those of the packages of Debian
                self.env[name] = f"/machine{path}"
                _copy(path, folder / self.env[name][1:])
        self.env |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "PIP_FIND_LINKS": "/wheels"}

    def type(self, *lines: str, folder: str = "/root") -> str:
        """What a shell answers to these lines, one after another; it ends with the first that fails."""
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-ec", WITHIN, "bash"]
        script = "\n".join(lines)
        done = subprocess.run(
            [*words, self.folder, folder],
            input=script,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}"
        return done.stdout


WITHIN = """
mount --rbind /dev "$1/dev"
mount -t proc proc "$1/proc"
exec chroot "$1" bash -ec 'cd "$1"; source /dev/stdin' bash "$2"
"""


def _sources() -> Path:
    """Where this machine itself gets its packages from."""
    modern = Path("/etc/apt/sources.list.d/debian.sources")
    return modern if modern.exists() else Path("/etc/apt/sources.list")


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target, dirs_exist_ok=True)
    else:
        shutil.copy(path, target)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    for reason in obstacles():
        lack(reason)
    folder = tmp_path_factory.mktemp("debian")
    try:
        yield Bare(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def obstacles() -> Iterator[str]:
    if os.geteuid() != 0:
        yield "a Debian in a folder takes root"
    if not shutil.which("mmdebstrap"):
        yield "no mmdebstrap on PATH (Debian: apt install mmdebstrap)"
    with socket.socket() as redis:
        if redis.connect_ex(("127.0.0.1", 6379)) == 0:
            yield "something on this machine answers at localhost:6379, which the tutorial uses"


def steps(page: str) -> list[Step]:
    """What a page wants written and typed, in its order."""
    found = []
    for block in FENCE.finditer((ROOT / page).read_text()):
        language, text = block["language"], block["text"]
        if language == "python":
            found.append(Step(block["file"], text))
        elif language == "sh":
            found.append(Step(None, text))
        elif language == "console":
            found.append(Step(None, "".join(f"{line}\n" for line in re.findall(r"^\$ (.+)$", text, re.M))))
    return found


def packages(page: str) -> str:
    """The line of a page that says what a bare Debian must have first."""
    found = re.search(r"`(apt install [\w .-]+)`", (ROOT / page).read_text())
    assert found, f"{page} does not say what to install first"
    return found[1].replace("apt install", "apt-get install --yes --quiet --no-install-recommends")


def commands(text: str) -> int:
    return len([line for line in text.splitlines() if line.strip() and not line.startswith("#")])


def as_shell(step: Step, name: str = "example.py") -> str:
    if step.file is None and not step.text.startswith(("import", "from")):
        return step.text
    return f"cat > {step.file or name} <<'END OF THE FILE'\n{step.text}END OF THE FILE\n"


@pytest.mark.timeout(SECONDS)
def test_the_first_queue_of_the_readme(bare: Bare) -> None:
    begun = time.monotonic()
    install, example, *_ = steps("README.md")
    bare.type("apt-get update --quiet", packages("README.md"))
    installed = time.monotonic()
    said = bare.type(install.text, as_shell(example), "python example.py")

    print(f"\nREADME: {commands(install.text) + 2} commands, {time.monotonic() - begun:.0f} s", end=", ")
    print(f"{installed - begun:.0f} s of them for Debian's packages")
    handled_by_thread = sorted(line for line in said.splitlines() if line.startswith("notifying"))
    assert handled_by_thread == ["notifying 1 4 7", "notifying 2 5 8", "notifying 3 6"]


@pytest.mark.timeout(SECONDS)
def test_the_main_job_of_the_readme(bare: Bare) -> None:
    """`make run` in a checkout installs what it needs; `make test` beside it has its turn in CI."""
    begun = time.monotonic()
    _, _, here, *_ = steps("README.md")
    run, _ = here.text.splitlines()
    archive = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], capture_output=True, check=True).stdout
    (bare.folder / "checkout").mkdir()
    subprocess.run(["tar", "-x", "-C", bare.folder / "checkout"], input=archive, check=True)
    said = bare.type("apt-get update --quiet", packages("README.md"), run, folder="/checkout")

    print(f"\nmake run: {time.monotonic() - begun:.0f} s")
    assert "order       kept in all " in said
    assert re.search(r"\blost +0\b", said)


@pytest.mark.timeout(SECONDS)
def test_the_tutorial_on_a_bare_debian(bare: Bare) -> None:
    begun = time.monotonic()
    found = steps("docs/tutorial.md")
    bare.type("apt-get update --quiet", packages("docs/tutorial.md"))
    said = bare.type("mkdir tutorial; cd tutorial", *map(as_shell, found))
    seconds = time.monotonic() - begun

    typed = 1 + sum(commands(step.text) for step in found if step.file is None)
    print(f"\ntutorial: {typed} commands and {len([step for step in found if step.file])} files: {seconds:.0f} s")
    counted = re.findall(r"^(\w+) (\d+) payments, (.+)$", said, re.M)
    assert counted == [("ann", "200", "in order"), ("bob", "209", "in order"), ("cid", "200", "in order")]
