"""
Ask the advisories of PyPI about every package that a lock file names.

A package that cannot be asked about is not a package without advisories: exit code 0 means that all were asked about
and none is known to be vulnerable, 1 that some are, 2 that the audit is not whole.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

LOCKS = (
    "requirements.lock",
    "worker/requirements.lock",
    "operator/requirements.lock",
    "build-requirements.lock",
    "sbom-requirements.lock",
    "signing-requirements.lock",
)


class Audit(NamedTuple):
    """What is known of the packages of one lock file."""

    lock: str
    asked: int = 0
    skipped: tuple[str, ...] = ()
    vulnerable: tuple[str, ...] = ()
    failure: str = ""

    @classmethod
    def of(cls, lock: str, report: str) -> "Audit":
        packages = json.loads(report)["dependencies"]
        return cls(
            lock,
            asked=sum("skip_reason" not in package for package in packages),
            skipped=tuple(package["name"] for package in packages if "skip_reason" in package),
            vulnerable=tuple(
                f"{package['name']} {package['version']}: {found['id']}, mended in {found['fix_versions'] or '-'}"
                for package in packages
                for found in package.get("vulns", ())
            ),
        )

    @property
    def exit_code(self) -> int:
        return 1 if self.vulnerable else 2 if self.skipped or self.failure or not self.asked else 0

    def __str__(self) -> str:
        if self.failure:
            return f"{self.lock:28} NOT AUDITED: {self.failure}"
        missing = f"; NOT AUDITED: {len(self.skipped)} ({', '.join(self.skipped[:3])} …)" if self.skipped else ""
        return f"{self.lock:28} {self.asked} packages asked about, {len(self.vulnerable)} advisories{missing}"


def audit(lock: str) -> Audit:
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--format=json", "-r", lock]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        return Audit(lock, failure=(done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1])
    return Audit.of(lock, done.stdout)


def main() -> int:
    audits = [audit(lock) for lock in LOCKS if Path(lock).exists()]
    for each in audits:
        print(each)
        for line in each.vulnerable:
            print("   ", line)
    return min((each.exit_code for each in audits if each.exit_code), default=0)


if __name__ == "__main__":
    sys.exit(main())
