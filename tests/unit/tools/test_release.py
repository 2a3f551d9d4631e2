"""A tag is a release only if version and changelog say so, and its notes are the section of the changelog."""

import pytest

from tools.release import fault_of, notes

CHANGELOG = """# Changelog

## [Unreleased]

## [1.1.0] - 2027-01-01

### Added

- A thing.

## [1.0.0] - 2026-11-26

- The first.

[Unreleased]: https://example.org/compare/v1.1.0...HEAD
[1.1.0]: https://example.org/v1.1.0
"""


def test_a_tag_of_the_version_with_its_section_is_a_release() -> None:
    assert fault_of("v1.1.0", "1.1.0", CHANGELOG) is None


@pytest.mark.parametrize(
    ("tag", "version", "changelog", "said"),
    [
        ("1.1.0", "1.1.0", CHANGELOG, "the tag must be v1.1.0"),
        ("v1.1.1", "1.1.0", CHANGELOG, "the tag must be v1.1.0"),
        ("v1.2.0", "1.2.0", CHANGELOG, r"no section '## \[1.2.0\]"),
        ("v1.1.0", "1.1.0", CHANGELOG.replace("d]\n\n", "d]\n\n- Left.\n\n", 1), "move them under"),
    ],
)
def test_anything_else_is_not_and_the_reason_is_told(tag: str, version: str, changelog: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(fault_of(tag, version, changelog))


def test_the_notes_are_one_section_without_its_head() -> None:
    assert notes(CHANGELOG, "1.1.0") == "### Added\n\n- A thing."
    assert notes(CHANGELOG, "1.0.0") == "- The first."
