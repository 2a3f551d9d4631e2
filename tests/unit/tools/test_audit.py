"""An audit that could not ask about a package says so."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tools.audit import Audit

FINE = {"name": "msgspec", "version": "1.0", "vulns": []}
SKIPPED = {"name": "click", "skip_reason": "Dependency not found on PyPI and could not be audited: click (8)"}
HIT = {"name": "aiohttp", "version": "3.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1"]}]}


@pytest.mark.parametrize(
    ("packages", "exit_code", "said"),
    [
        ([FINE], 0, "1 packages asked about, 0 advisories"),
        ([FINE, SKIPPED], 2, "1 packages asked about, 0 advisories; NOT AUDITED: 1 (click …)"),
        ([FINE, SKIPPED, HIT], 1, "2 packages asked about, 1 advisories; NOT AUDITED: 1 (click …)"),
        ([], 2, "0 packages asked about, 0 advisories"),
    ],
)
def test_an_audit_is_whole_only_when_all_packages_were_asked_about(
    packages: Sequence[Any], exit_code: int, said: str
) -> None:
    audit = Audit.of("a.lock", json.dumps({"dependencies": packages}))

    assert audit.exit_code == exit_code
    assert str(audit).split(maxsplit=1)[1] == said


def test_an_audit_that_failed_says_why() -> None:
    audit = Audit("a.lock", failure="no route to host")

    assert audit.exit_code == 2
    assert str(audit).endswith("NOT AUDITED: no route to host")
