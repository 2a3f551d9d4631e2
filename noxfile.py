"""
The package as users get it: the built wheel, in environments of their own. `make matrix`, `make oldest`, `make extras`.

A Python that this machine lacks is skipped and named; with `CI` set it is an error.
"""

import os
import tomllib
from pathlib import Path

import nox

# What pyenv has installed is on this machine, also while another version is the active one.
PYENV = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *map(str, PYENV.glob("versions/*/bin"))])

nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = bool(os.environ.get("CI"))
nox.options.reuse_venv = "never"

ROOT = Path(__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
EXTRAS = ["", *PROJECT["optional-dependencies"]]
SUITES = ("tests/unit", "tests/contract")


@nox.session(python=PYTHONS)
def matrix(session: nox.Session) -> None:
    """Unit and contract tests against the wheel, with the locked packages."""
    session.install("--require-hashes", "--requirement", "requirements.lock")
    _test(session)


@nox.session(python=PYTHONS[0])
def oldest(session: nox.Session) -> None:
    """The same with the oldest packages that pyproject.toml allows, on the oldest Python."""
    session.install("--require-hashes", "--requirement", "oldest-requirements.lock")
    _test(session)


@nox.session(python=PYTHONS[-1])
def newest(session: nox.Session) -> None:
    """The same with the newest packages of today, on the newest Python."""
    session.install("--upgrade", "--group", "dev", f"{_wheel()}[{','.join(PROJECT['optional-dependencies'])}]")
    _test(session)


@nox.session(python=PYTHONS)
@nox.parametrize("extra", EXTRAS, ids=[extra or "none" for extra in EXTRAS])
def extras(session: nox.Session, extra: str) -> None:
    """Each extra alone does what it is for, and none needs what another one brings."""
    session.install(f"{_wheel()}[{extra}]" if extra else str(_wheel()))
    with session.chdir(session.create_tmp()):
        session.run("python", "-I", str(ROOT / "tools" / "smoke.py"), extra)


def _test(session: nox.Session) -> None:
    session.install("--no-deps", "--reinstall-package", "sharded-queue", str(_wheel()))
    session.run("python", "-c", f"import sharded_queue as s; assert not s.__file__.startswith('{ROOT}/worker')")
    session.run("python", "-m", "pytest", "-p", "no:cacheprovider", *(session.posargs or SUITES))


def _wheel() -> Path:
    wheels = list((ROOT / "dist").glob("*.whl"))
    if len(wheels) != 1:
        raise SystemExit(f"dist/ must hold one wheel, not {len(wheels)}: type make dist")
    return wheels[0]
