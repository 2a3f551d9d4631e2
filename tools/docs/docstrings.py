"""Docstrings of this project are plain text, close to Markdown; Sphinx reads them as reStructuredText."""

import re

CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
FIELD = re.compile(r"^(?=\*\w+\*(?: \([^)]*\))?: )")
"""The line that begins to explain a parameter or an attribute."""

ERROR = re.compile(r"^    (\w[\w, ]*):")
"""The line that begins to say when an error is raised."""

BULLET = re.compile(r"^\s*- ")


def as_restructured(lines: list[str], links: dict[str, str]) -> list[str]:
    """The same text, with code as code, a link for each name in *links*, and lists where a person sees them."""
    return separated(raising(itemised(linked("\n".join(lines), links).split("\n"))))


def linked(text: str, links: dict[str, str]) -> str:
    def role(code: re.Match[str]) -> str:
        shown = " ".join(code[1].split())
        end = "\\ " if text[code.end() : code.end() + 1].isalnum() else ""
        return (f":py:obj:`{shown} <{links[shown]}>`" if shown in links else f"``{shown}``") + end

    return CODE.sub(role, text)


def itemised(lines: list[str]) -> list[str]:
    """Lines that explain one parameter each become a list, and their continuations are indented."""
    items: list[str] = []
    is_item = False
    for line in lines:
        if FIELD.match(line):
            is_item = True
            items.append(f"- {line}")
        else:
            is_item = is_item and bool(line.strip())
            items.append(f"  {line}" if is_item else line)
    return items


def raising(lines: list[str]) -> list[str]:
    """The errors below `Raises:` as fields, which Sphinx links."""
    start = lines.index("Raises:") if "Raises:" in lines else len(lines)
    return [*lines[:start], *(ERROR.sub(r":raises \1:", line) for line in lines[start + 1 :])]


def separated(lines: list[str]) -> list[str]:
    """An empty line before each list: without one, its items would join the paragraph."""
    result: list[str] = []
    for line in lines:
        if BULLET.match(line) and result and result[-1].strip() and not is_in_list(result):
            result.append("")
        result.append(line)
    return result


def is_in_list(lines: list[str]) -> bool:
    """Whether the paragraph that *lines* end with belongs to an item."""
    for line in reversed(lines):
        if BULLET.match(line):
            return True
        if not line.strip():
            return False
    return False
