"""The lists of the index become the navigation."""

from tools.docs.navigation import navigation

INDEX = """# Documentation

## Use

- [First](../README.md): the root.
- [Second](two.md), and [more](three.md).
- [Third](deep/README.md#part): a part is no page of its own.

## Elsewhere

- [A site](https://example.org/page.md)

## Run

- [Fourth](../charts/README.md)
"""


def test_each_list_is_a_table_of_its_pages() -> None:
    assert navigation(INDEX, "docs/README", "README") == (
        "```{toctree}\n:hidden:\n:caption: Use\n\nSecond </docs/two>\n```\n\n"
        "```{toctree}\n:hidden:\n:caption: Run\n\nFourth </charts/README>\n```\n"
    )


def test_a_list_without_a_heading_has_no_caption() -> None:
    assert navigation("- [One](one.md)\n", "docs/decisions/README", "README") == (
        "```{toctree}\n:hidden:\n\n\nOne </docs/decisions/one>\n```\n"
    )
