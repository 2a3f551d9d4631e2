"""A real PostgreSQL for tests, in a folder of its own, reached by a socket in that folder."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.harness.requirements import postgres

USER = "tests"
OPTIONS = "-c listen_addresses='' -c fsync=off -c max_connections=50"


class PostgresServer:
    def __init__(self) -> None:
        self._programs = postgres()
        self._user = unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # short: a socket's path has at most 107 characters
        if self._user:
            shutil.chown(self.folder, self._user)

    @property
    def url(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg://{USER}@/postgres?host={self.folder}"

    def start(self) -> "PostgresServer":
        self._run("initdb", "--auth=trust", f"--username={USER}", "--no-sync", "--encoding=UTF8", "--locale=C")
        self._run("pg_ctl", "start", "--wait", f"--log={self.folder / 'log'}", f"--options=-k {self.folder} {OPTIONS}")
        return self

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate")
        shutil.rmtree(self.folder)

    def _run(self, program: str, *words: str) -> None:
        whose: dict[str, Any] = {"user": self._user, "group": self._user, "extra_groups": []} if self._user else {}
        command = [str(self._programs / program), f"--pgdata={self.folder / 'data'}", *words]
        done = subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, **whose)
        assert done.returncode == 0, done.stderr.decode()


def unprivileged() -> str | None:
    """PostgreSQL refuses to run as root: the user to run it as then."""
    if os.geteuid() != 0:
        return None
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
