"""The model of growth finds what it was made from, and its tables and curves show what was measured."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from bench.growth import plot, text
from bench.growth.curves import Curve
from bench.growth.load import OVERHEAD, bodies
from bench.growth.model import cpu_row, fit, fitted, memory_row
from bench.growth.point import Point, powers


def point(threads: int = 10, requests: int = 10_000, size: int = 50, workers: int = 1, nodes: int = 1) -> Point:
    """Costs 2 µs, 20 µs a batch and 1 ns a byte; and 500 bytes a thread, 20 a request, 1.1 for each of its bytes."""
    empty = Point(workers, nodes, threads, requests, size, 1e6, 1e5, 0.0, 2.0, 0.1, 0.0, 0.0)
    cpu = 2 + 20 / empty.batch + size / 1000
    memory = (500 * threads + 20 * requests + 1.1 * requests * size) / requests
    return replace(empty, redis_us=cpu, memory=memory)


@pytest.fixture
def curves() -> list[Curve]:
    return [
        Curve("Workers on one Redis", "workers", (point(), point(workers=2))),
        Curve("Workers on a Cluster of 3", "workers", (point(nodes=3), point(workers=2, nodes=3))),
        Curve("Threads", "threads", tuple(point(threads=count) for count in powers(1, 10_000))),
        Curve("Requests", "requests", tuple(point(requests=count) for count in powers(10, 1_000_000))),
        Curve("Bytes of a message", "size", tuple(point(size=size) for size in (50, 500, 5_000))),
    ]


@pytest.fixture
def points(curves) -> list[Point]:
    return [each for curve in curves for each in curve.points if each.tells]


def test_the_model_finds_the_costs_it_was_made_from(points):
    model = fitted(points)

    assert model.cpu.coefficients == pytest.approx((2, 20, 0.001))
    assert model.memory.coefficients == pytest.approx((500, 20, 1.1))
    assert model.cpu.largest_error == pytest.approx(0, abs=1e-6)


def test_the_model_predicts_a_shape_that_was_not_measured(points):
    model = fitted(points)

    assert model.redis_us(64, 200) == pytest.approx(2 + 20 / 64 + 0.2)
    assert model.bytes(3, 7, 100) == pytest.approx(3 * 500 + 7 * 20 + 770)
    assert model.rate(1, 1_000, nodes=3) == pytest.approx(3e6 / 23)


def test_an_error_is_a_part_of_what_was_measured():
    """Of 100 and 300 the same coefficient is nearest, relative to each, at 120."""
    found = fit([(1.0,), (1.0,), (1.0,)], [100.0, 100.0, 200.0])

    assert found.errors == pytest.approx(tuple(abs(found.coefficients[0] / value - 1) for value in (100, 100, 200)))
    assert found.largest_error > found.middle_error


def test_no_cost_is_below_nothing():
    """A column that only noise speaks for is left out, and the others are fitted without it."""
    found = fit([(1.0, 0.0), (1.0, 1.0), (1.0, 2.0)], [10.0, 9.0, 8.0])

    assert found.coefficients[1] == 0.0
    assert found.coefficients[0] > 0


@pytest.mark.parametrize(
    ("rows", "values", "reason"),
    [
        ([(1.0, 2.0)], [1.0], "fit no 2 coefficients"),
        ([], [], "fit no 0 coefficients"),
        ([(1.0,), (1.0,)], [1.0, 0.0], "fit no 1 coefficients"),
        ([(1.0, 1.0), (2.0, 2.0)], [1.0, 2.0], "measure more different points"),
    ],
)
def test_what_cannot_be_fitted_is_refused(rows, values, reason):
    with pytest.raises(ValueError, match=reason):
        fit(rows, values)


@pytest.mark.parametrize(("threads", "requests", "batch"), [(1, 1_000_000, 128), (100, 1_000, 10), (1_000, 10, 1)])
def test_a_batch_is_what_a_thread_has_up_to_128(threads, requests, batch):
    assert point(threads=threads, requests=requests).batch == batch


def test_few_requests_or_several_workers_tell_nothing_about_one_request():
    assert [point().tells, point(requests=999).tells, point(workers=2).tells, point(nodes=3).tells] == [
        True,
        False,
        False,
        False,
    ]


def test_curves_have_a_point_for_each_power_of_ten():
    assert powers(1, 1_000) == [1, 10, 100, 1_000]


def test_rows_are_as_the_formulas_say():
    assert (tuple(cpu_row(128, 50)), tuple(memory_row(2, 3, 10))) == ((1, 1 / 128, 50), (2, 3, 30))


@pytest.mark.parametrize("size", [50, 5_000, 100_000])
def test_bodies_have_the_size_that_was_asked_for(size):
    import msgspec

    parts = list(bodies(3, size))
    encoded = [len(msgspec.json.encode(body)) for part in parts for body in part]

    assert len(encoded) == 3
    assert all(size - OVERHEAD < length <= size for length in encoded)


def test_tables_name_what_grows_and_say_when_nothing_was_blocked(curves):
    rows = text.table(curves[2])

    assert (rows[0][0], rows[1][0], rows[-1][0]) == ("threads", "1", "10,000")
    assert rows[1][-1] == "< 1"


def test_the_page_has_the_formulas_their_errors_and_an_example(curves, points):
    page = text.page(curves, fitted(points), {"Machine": "2 cores"})

    assert "2 + 20 / batch + 1 × kB" in page
    assert "500 × threads + 20 × requests + 1.1 × bytes" in page
    assert "0 % off at the median" in page
    assert "5,000 requests a second of 200 bytes take 2.1 % of a core" in page
    assert "Computed from the first formula" in page


def test_the_picture_of_growth_has_all_panels_and_tells_measured_from_modelled(curves, points):
    picture = ElementTree.fromstring(plot.drawn(curves, fitted(points)))
    name = "{http://www.w3.org/2000/svg}"
    words = [element.text for element in picture.iter(f"{name}text")]
    dashed = [element for element in picture.iter(f"{name}path") if element.get("stroke-dasharray")]

    assert {"Longest block of Redis, ms (1: below one)", "Memory of Redis, MB", "Cluster"} <= set(words)
    assert words.count("model") == len(dashed) == 5


@pytest.mark.parametrize(("value", "shown"), [(1, "1"), (10_000, "10k"), (1_000_000, "1M"), (0.1, "0.1")])
def test_an_axis_has_short_numbers(value, shown):
    assert plot.short(value) == shown


def test_a_run_too_small_for_its_memory_to_show_is_left_out_of_the_curve(curves, points):
    curves[3] = Curve("Requests", "requests", (replace(point(requests=1), memory=0.0), *curves[3].points))

    assert len(plot.dots(curves[3], plot.total)) == len(curves[3].points) - 1
    assert ElementTree.fromstring(plot.drawn(curves, fitted(points))) is not None
