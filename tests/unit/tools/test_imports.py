"""The picture of the imports shows what the code does, and an import that points up cannot be drawn."""

import pytest

from tools.imports.__main__ import FILE, picture
from tools.imports.graph import Rows, imports, rows_of


@pytest.fixture
def rows() -> Rows:
    return rows_of("sharded_queue_operator") + rows_of("sharded_queue")


def test_the_picture_is_that_of_the_code() -> None:
    assert FILE.read_text() == picture(), "make imports"


def test_folders_stand_alone_and_modules_stand_together(rows: Rows) -> None:
    boxes = [box for row in rows for box in row]

    assert {box.lines for box in boxes if box.is_folder} >= {(("worker",),), (("backends",),), (("scaling",),)}
    assert all(len(box.names) == 1 for box in boxes if box.is_folder)
    assert any({"storage", "tube", "lease"} <= box.names for box in boxes)


def test_an_import_that_points_up_is_refused(rows: Rows) -> None:
    with pytest.raises(ValueError, match="do not point down"):
        imports(rows[::-1])


def test_what_follows_from_other_imports_is_left_out(rows: Rows) -> None:
    arrows = {
        (name, target)
        for above, below in imports(rows)
        for name in above.names
        for target in below.names
        if above.is_folder and below.is_folder
    }

    assert ("resource", "scaling") in arrows
    assert ("controller", "scaling") not in arrows
