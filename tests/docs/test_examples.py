"""The page of an example has the example's files, and leads to the repository."""

import html
import re
from pathlib import Path

from tools.docs import examples

ROOT = Path(__file__).parents[2]


def test_every_file_of_every_example_is_on_its_page(site: Path) -> None:
    for folder in sorted(page.parent for page in ROOT.glob("examples/*/README.md")):
        page = (site / "examples" / folder.name / "README.html").read_text()
        text = html.unescape(re.sub(r"<[^>]+>", "", page))
        assert f'href="{examples.repository()}/tree/main/examples/{folder.name}"' in page
        assert examples.files(folder)
        for file in examples.files(folder):
            assert file.read_text().strip() in text, file


def test_every_page_leads_to_its_source(site: Path) -> None:
    assert f'href="{examples.repository()}/blob/main/docs/faq.md' in (site / "docs" / "faq.html").read_text()
