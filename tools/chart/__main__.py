"""Write the generated files of the chart and the pictures of its dashboards, and print which have changed."""

import sys
from pathlib import Path

from tools.chart.generated import REPOSITORY, generated
from tools.dashboards import boards
from tools.pictures import pictures


def main() -> None:
    write(generated())
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
