"""The pages of documentation lead where they say, and the index leads to each of them."""

import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGES = (ROOT / "worker" / "sharded_queue", ROOT / "operator" / "sharded_queue_operator")
PAGES = [page for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md") for page in sorted(ROOT.glob(pattern))]


def links(page: Path) -> list[str]:
    """Those to files of the repository and to headings."""
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link]


@cache
def anchors(page: Path) -> set[str]:
    """The headings of a page, as a browser on it names them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.relative_to(ROOT)} links to {link}"
        assert not heading or heading in anchors(target), f"{page.relative_to(ROOT)} links to {link}"


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_file_that_is_named_exists(page: str) -> None:
    names = re.findall(r"`([\w./]+(?:\.py|\.lua|\.md|\.toml|\.yaml|/))`", (ROOT / page).read_text())
    assert names

    missing = [name for name in names if not any(ROOT.glob(name)) and not is_of_ours(name)]
    assert missing == []


def is_of_ours(name: str) -> bool:
    """Whether the library or the operator has such a file or folder, named from any of their folders on."""
    return any(any(package.rglob(name.rstrip("/"))) for package in PACKAGES)


def test_the_index_leads_to_every_page() -> None:
    indices = [DOCS / "README.md", DOCS / "decisions" / "README.md", ROOT / "examples" / "README.md"]
    linked = {(index.parent / link.partition("#")[0]).resolve() for index in indices for link in links(index)}

    assert set(PAGES) - {indices[0]} <= linked


def test_every_example_has_a_page_and_a_test() -> None:
    """In a row of the index. `test_every_link_leads_somewhere` holds that they exist."""
    index = (ROOT / "examples" / "README.md").read_text()
    rows = re.findall(
        r"^\| \[[^]]+\]\(([\w-]+)/README\.md\) \| .+ \| \[\w+\]\(\.\./tests/\S+\) \|$", index, re.MULTILINE
    )
    folders = {page.parent.name for page in ROOT.glob("examples/*/*") if page.suffix in (".md", ".py")}

    assert sorted(rows) == sorted(folders)


def test_every_promise_names_tests_that_exist() -> None:
    """That they prove it, a reader has to see; `test_every_link_leads_somewhere` holds the names."""
    page = (DOCS / "guarantees.md").read_text()
    promises = re.findall(r"^\| (?!promise|-)[^|]+ \| .+ \| (.+) \|$", page, re.MULTILINE)

    assert len(promises) >= 20
    assert all("](../tests/" in proof for proof in promises)


def test_security_names_tests_that_exist_for_what_the_console_promises() -> None:
    page = (DOCS / "security.md").read_text()
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    named = re.findall(r"`(?:[\w./]*::)?(test_\w+)`", page)
    paths = re.findall(r"`(tests/[\w./]+)(?:::\w+)?`", page)
    console = page.partition("What it promises")[2].partition("\n\nWith ")[0]
    promises = re.split(r"^- ", console, flags=re.MULTILINE)[1:]

    assert [name for name in named if f"def {name}(" not in tests] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert len(promises) >= 15
    assert [promise for promise in promises if not re.search(r"`(tests/|test_)", promise)] == []


@pytest.mark.slow
def test_the_code_uses_every_word_of_the_glossary() -> None:
    rows = re.findall(r"^\| (?!word|-)([^|]+) \|", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    words = [word.strip() for row in rows for word in row.split(",")]
    code = "\n".join(file.read_text() for package in PACKAGES for file in package.rglob("*.py")).lower()

    assert len(words) >= 40
    assert [word for word in words if not re.search(rf"\b{word}", code) and word.replace(" ", "_") not in code] == []


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md", "charts/sharded-queue/Chart.yaml"])
def test_the_address_of_the_repository_is_the_one_of_the_package(page: str) -> None:
    address = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]

    named = set(re.findall(r"https://github\.com/[\w-]+/[\w-]+(?:\.py)?", (ROOT / page).read_text()))
    assert named == {address}


def test_the_readme_lists_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    listed = re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(extras)
