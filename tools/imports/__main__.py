"""`python -m tools.imports` writes docs/imports.svg."""

from tools.imports.graph import ROOT, imports, rows_of
from tools.imports.picture import drawn

FILE = ROOT / "docs" / "imports.svg"


def picture() -> str:
    rows = rows_of("sharded_queue_operator") + rows_of("sharded_queue")
    return drawn(rows, imports(rows))


if __name__ == "__main__":
    FILE.write_text(picture())
    print(f"wrote {FILE.relative_to(ROOT)}")
