"""A URL of Redis is read into discrete options, decides about nothing else, and is never repeated."""

import traceback

import pytest

from sharded_queue import RedisOptions, SettingsError, connect, settings
from sharded_queue.settings import read

URLS = {
    "redis://localhost": RedisOptions(),
    "redis://localhost/": RedisOptions(),
    "REDIS://h:7000/3": RedisOptions(("h:7000",), database=3),
    "redis://[::1]:7000": RedisOptions(("[::1]:7000",)),
    "redis://worker:words@h": RedisOptions(("h:6379",), username="worker", password="words"),
    "redis://:words@h": RedisOptions(("h:6379",), password="words"),
    "redis://a%40b:p%2F%3A%40%25%C3%BC@h": RedisOptions(("h:6379",), username="a@b", password="p/:@%\u00fc"),
    "rediss://h/1": RedisOptions(("h:6379",), tls=True, database=1),
    "redis+sentinel://a,b:7/main": RedisOptions(("a:26379", "b:7"), mode="Sentinel", sentinel_master="main"),
    "redis-sentinel://u:w@a/main/3": RedisOptions(
        ("a:26379",), mode="Sentinel", sentinel_master="main", username="u", password="w", database=3
    ),
    "rediss+sentinel://a/m": RedisOptions(("a:26379",), mode="Sentinel", sentinel_master="m", tls=True),
    "redis+cluster://a,[::1]:7001": RedisOptions(("a:6379", "[::1]:7001"), mode="Cluster"),
    "rediss+cluster://a/0": RedisOptions(("a:6379",), mode="Cluster", tls=True),
}
REFUSED = {
    "": "must begin with one of the schemes redis, rediss, redis\\+sentinel",
    "localhost:6379": "must begin with one of the schemes",
    "http://h": "must begin with one of the schemes",
    "unix:///tmp/redis.sock": "must begin with one of the schemes",
    "redis://": "no host:port as address 1",
    "redis://h:": "no host:port as address 1",
    "redis://h:0": "no host:port as address 1",
    "redis://h:65536": "no host:port as address 1",
    "redis://h:hunter2": "no host:port as address 1",
    "redis://h,": "no host:port as address 2|2 addresses",
    "redis://a,b": "2 addresses, which needs redis\\+sentinel",
    "redis://h\n/0": "characters that a URL cannot have",
    "redis://h /0": "characters that a URL cannot have",
    "redis://u:hunter2\u00fc@h": "characters that a URL cannot have",
    "redis://h/queue": "no database number",
    "redis://h/-1": "no database number",
    "redis://h/1/2": "no database number",
    "redis://h/3333333333": "no database number",
    "redis://hunter2@h": "a user without a password",
    "redis://worker:@h": "a user without a password",
    "redis://:hunter2/x@h": "an @ behind the host: .*percent-encoded",
    "redis://:hunter2?x@h": "an @ behind the host",
    "redis://:hunter2#x@h": "an @ behind the host",
    "redis://:hunter2@x@h": "cannot be read: .*percent-encoded",
    "redis://u:hunter2:x@h": "cannot be read",
    "redis://:hunter2%@h": "cannot be read",
    "redis://:hunter2%ff@h": "not UTF-8",
    "redis://h#0": "has a #",
    "redis://h?ssl_cert_reqs=none": "query parameters ssl_cert_reqs: a URL may not set them",
    "rediss://h/0?ssl_ca_certs=/etc/ca&db=3": "query parameters ssl_ca_certs, db:",
    "redis://h?password=hunter2": "query parameters password:",
    "redis://h?hunter2-x": "query parameters \\(hidden\\)",
    "redis+sentinel://a": "needs the name of the master",
    "redis+sentinel://a/main/x": "no database number",
    "redis+cluster://a/3": "a Cluster has no other database than 0",
}


@pytest.mark.parametrize(("url", "options"), URLS.items())
def test_a_url_is_read_into_options(url: str, options: RedisOptions) -> None:
    assert RedisOptions.from_url(url) == options


@pytest.mark.parametrize(("url", "complaint"), REFUSED.items())
def test_a_url_that_is_none_is_refused_without_repeating_it(url: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=f"^the URL of Redis .*({complaint})") as refused:
        RedisOptions.from_url(url)

    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


def test_what_a_url_cannot_say_is_given_beside_it() -> None:
    options = RedisOptions.from_url(
        "rediss+sentinel://a/main", sentinel_password="s", tls_ca="/ca.crt", timeout_seconds=1.5, auth_folder="/auth"
    )

    assert (options.sentinel_password, options.tls_ca, options.timeout_seconds) == ("s", "/ca.crt", 1.5)
    assert options.auth_folder == "/auth"


def test_a_password_of_a_url_is_not_shown() -> None:
    options = RedisOptions.from_url("redis://worker:hunter2@h/3")

    assert repr(options) == "RedisOptions(Standalone h:6379 database 3)"
    assert "hunter2" not in repr(options.password)


def test_the_setting_is_read_with_those_that_no_url_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_REDIS_URL", "rediss://worker:words@h/3")
    monkeypatch.setenv("QUEUE_REDIS_TLS_CA", "/ca.crt")
    monkeypatch.setenv("QUEUE_REDIS_TIMEOUT", "2")

    assert RedisOptions.from_settings(read()) == RedisOptions(
        ("h:6379",), username="worker", password="words", tls=True, tls_ca="/ca.crt", timeout_seconds=2, database=3
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ADDRESS", "localhost:6379"),
        ("DATABASE", "0"),
        ("MODE", "Standalone"),
        ("PASSWORD", "hunter2"),
        ("SENTINEL_MASTER", "main"),
        ("TLS", "Disabled"),
        ("USERNAME", "worker"),
    ],
)
def test_a_url_beside_what_it_stands_for_is_refused_and_names_both(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beside a default value: whoever set it meant something by it."""
    monkeypatch.setenv("QUEUE_REDIS_URL", "redis://h")
    monkeypatch.setenv(f"QUEUE_REDIS_{name}", value)

    with pytest.raises(SettingsError, match=f"QUEUE_REDIS_URL and QUEUE_REDIS_{name} are set"):
        RedisOptions.from_settings(read())


def test_a_setting_that_is_no_url_is_named() -> None:
    settings.redis_url = "hunter2"  # type: ignore[assignment]

    with pytest.raises(SettingsError, match=r"^QUEUE_REDIS_URL: the URL of Redis must begin with") as refused:
        RedisOptions.from_settings()

    assert "hunter2" not in str(refused.value)


def test_a_database_of_a_cluster_is_refused() -> None:
    with pytest.raises(SettingsError, match="redis_database is 3, but a Cluster has no other database than 0"):
        connect(RedisOptions(("h:1",), mode="Cluster", database=3))


def test_a_database_out_of_bounds_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"QUEUE_REDIS_DATABASE .* greater than or equal to 0"):
        settings.redis_database = -1
