"""Write all that is made from something else, and say what changed."""

import sys
from pathlib import Path

from tools.chart.generated import REPOSITORY, made
from tools.dashboards import boards
from tools.pictures import pictures


def main() -> None:
    write(made())
    try:
        write(pictures(boards()))
    except LookupError as error:
        sys.exit(str(error))


def write(texts: dict[Path, str]) -> None:
    for path, text in texts.items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"written: {path.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
