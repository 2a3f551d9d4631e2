"""What users read of speed and of scaling is short, and what is said there is what the long pages behind it have."""

import pytest

from bench.page import marks
from tests.harness.pages import DOCS

MOST_WORDS = 800


def rows(page: str, part: str) -> list[list[str]]:
    """The cells of a table that a program wrote, without its head."""
    begin, end = marks(part)
    table = (DOCS / page).read_text().partition(begin)[2].partition(end)[0].strip().splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table[2:]]


@pytest.mark.parametrize("name", ["benchmarks", "scaling"])
def test_a_page_for_users_is_short_has_one_picture_and_leads_to_the_page_behind_it(name: str) -> None:
    text = (DOCS / f"{name}.md").read_text()

    assert len(text.split()) <= MOST_WORDS
    assert text.count("![") == 1
    assert f"({name}-in-depth.md" in text
    assert f"({name}.md)" in (DOCS / f"{name}-in-depth.md").read_text()


def test_what_to_expect_of_scaling_is_what_the_long_table_says() -> None:
    measured = rows("scaling-in-depth.md", "workloads")
    ours = [row for row in measured if row[1] == "lanes"]
    rivals = [measured[at + 1 : at + 4] for at in range(0, len(measured), 4)]

    assert rows("scaling.md", "expected") == [
        [title, pods, drain, pod_seconds, f"{min((each[6] for each in others), key=float)} ×", f"{others[0][6]} ×"]
        for (title, _, drain, pods, pod_seconds, *_), others in zip(ours, rivals, strict=True)
    ]
