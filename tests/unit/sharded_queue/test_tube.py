"""Routes and tubes: what may be a thread, and how keys are spelled."""

import pytest

from sharded_queue import KeyRoute, Route, RouteError, Tube
from sharded_queue.route import checked, checked_key, key_hash
from sharded_queue.tube import Keys, Layout, Shard, shard_of, shards_of, threads_fault


@pytest.mark.parametrize(
    ("route", "thread", "priority"),
    [
        (Route(), "0", 0),
        (Route(3), "3", 0),
        (Route(-3, -1), "-3", -1),
        (Route("user/7"), "user/7", 0),
        (Route("ü" * 128), "ü" * 128, 0),
        ((5, 6), "5", 6),
        (Route(2**80, 2**31 - 1), str(2**80), 2**31 - 1),
    ],
)
def test_a_usable_route_is_taken(route: Route, thread: str, priority: int) -> None:
    assert checked(route) == (thread, priority)


def test_a_number_and_its_text_are_the_same_thread() -> None:
    assert checked(Route(3)) == checked(Route("3"))


@pytest.mark.parametrize(
    ("route", "complaint"),
    [
        (None, "a route is Route"),
        ("a", "a route is Route"),
        ((1, 2, 3), "a route is Route"),
        (Route(None), "must be an int or a str"),  # type: ignore[arg-type]
        (Route(1.5), "must be an int or a str"),  # type: ignore[arg-type]
        (Route(True), "must be an int or a str"),
        (Route(b"a"), "must be an int or a str"),  # type: ignore[arg-type]
        (Route(""), "1 to 256 bytes"),
        (Route("x" * 257), "1 to 256 bytes"),
        (Route("ü" * 129), "1 to 256 bytes"),
        (Route("a\nb"), "printable"),
        (Route("a\x00"), "printable"),
        (Route("\ud800"), "printable"),
        (Route(1, 2**31), "priority"),
        (Route(1, -(2**31)), "priority"),
        (Route(1, 1.0), "priority"),  # type: ignore[arg-type]
        (Route(1, True), "priority"),
    ],
)
def test_an_unusable_route_says_why(route: object, complaint: str) -> None:
    with pytest.raises(RouteError, match=complaint):
        checked(route)


def test_the_tag_of_a_single_shard_is_the_handlers_name() -> None:
    assert Shard("app.Handler").tag == "app.Handler"


def test_shards_of_a_spread_handler_have_tags_of_their_own() -> None:
    assert [shard.tag for shard in shards_of("app.Handler", 3)] == ["app.Handler:0", "app.Handler:1", "app.Handler:2"]


def test_a_thread_is_in_the_same_shard_in_every_release() -> None:
    """These numbers may never change: requests that wait would be looked for in another shard."""
    assert [shard_of("app.Handler", thread, 8).number for thread in ("0", "1", "user-7", "ü")] == [1, 7, 1, 5]


def test_all_shards_of_a_handler_are_used() -> None:
    assert {shard_of("h", str(n), 8) for n in range(200)} == set(shards_of("h", 8))


def test_keys_are_spelled_with_the_prefixes_and_the_tag() -> None:
    keys = Keys("t_", "l_")

    assert (keys.base(Shard("a.B")), keys.lock(Shard("a.B")), keys.awake) == ("t_{a.B}", "l_{a.B}", "t_awake")


def test_a_tube_names_its_handler_thread_and_priority() -> None:
    assert str(Tube(Shard("a.B"), "t", -1)) == "a.B/t/-1"


def test_a_key_has_the_same_mark_in_every_release() -> None:
    """These numbers may never change: requests that wait would be passed by others of their key."""
    key_hashes = [1790921346, 2537939745, 1675192789, 808273962]

    assert [key_hash(key) for key in ("7", "user-7", "ü", -1)] == key_hashes


@pytest.mark.parametrize("threads", [2, 8, 12, 32, 100])
def test_keys_are_spread_evenly(threads: int) -> None:
    counts = [0] * threads
    for key in range(100 * threads):
        counts[key_hash(key) % threads] += 1

    assert 50 < min(counts) <= max(counts) < 150


def test_a_key_keeps_its_shard_in_every_layout() -> None:
    for key in range(200):
        layouts = [Layout(number, threads) for number, threads in enumerate((4, 8, 12, 32), 1)]
        threads = [layout.thread(key_hash(key)) for layout in layouts]

        assert {shard_of("app.Handler", thread, 4).number for thread in threads} == {key_hash(key) % 4}


def test_a_usable_key_is_taken() -> None:
    assert checked_key(KeyRoute("user-7", -1)) == (key_hash("user-7"), -1)
    assert checked_key(KeyRoute(7)) == checked_key(KeyRoute("7"))


@pytest.mark.parametrize(
    ("route", "complaint"),
    [
        (Route(7), r"KeyRoute\(key, priority\), not Route"),
        (None, r"KeyRoute\(key, priority\)"),
        (KeyRoute(None), "must be an int or a str"),  # type: ignore[arg-type]
        (KeyRoute(True), "must be an int or a str"),
        (KeyRoute(1, 2**31), "priority"),
    ],
)
def test_an_unusable_key_says_why(route: object, complaint: str) -> None:
    with pytest.raises(RouteError, match=complaint):
        checked_key(route)


def test_a_route_by_key_takes_a_number_of_threads() -> None:
    with pytest.raises(RouteError, match=r"route by key: declare how many threads the handler has"):
        checked(KeyRoute(7))


@pytest.mark.parametrize("threads", [0, -1, 65_537, True, 1.5, "8", None])
def test_a_number_of_threads_has_bounds(threads: object) -> None:
    assert "from 1 to 65,536" in (threads_fault(threads, 1) or "")


def test_a_number_of_threads_fits_the_shards() -> None:
    assert threads_fault(6, 2) is None
    assert "a multiple of 4" in (threads_fault(6, 4) or "")
