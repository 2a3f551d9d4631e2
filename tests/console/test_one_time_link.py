"""Where nobody has a name, who opens the link that the console printed looks and acts; others on the machine do not."""

import hmac
import logging
import re
from pathlib import Path

import httpx
import pytest

from sharded_queue.web.csrf import COOKIE
from sharded_queue.web.one_time_link import LINK_SECONDS, OneTimeLink
from sharded_queue.web.people import People
from tests.console.test_application import ORIGIN, PAUSE, Desk, is_paused, opened
from tests.harness.cli_process import CliProcess
from tests.harness.requirements import require_redis
from tools.redis_server import RedisServer

PATHS = ("/", "/dead", "/live?page=overview", "/confirm?action=pause&handler=shop.Paid", "/static/console.js", "/act")


def other(desk: Desk) -> httpx.AsyncClient:
    """Another client of the console."""
    return httpx.AsyncClient(transport=desk.client._transport, base_url=ORIGIN)


async def test_who_did_not_open_the_link_neither_looks_nor_acts(tmp_path: Path) -> None:
    async with opened(tmp_path, allow_actions=True) as desk, other(desk) as client:
        token = await desk.token(**PAUSE)
        client.cookies.set(COOKIE, desk.client.cookies[COOKIE])
        acted = await client.post("/act", data={"token": token, **PAUSE}, headers={"Origin": ORIGIN})

        assert [(await client.get(path)).status_code for path in PATHS] == [401] * len(PATHS)
        assert acted.status_code == 401
        assert not await is_paused(desk)
        assert (await client.get("/livez")).status_code == 200


async def test_link_works_once_and_for_a_click_alone(tmp_path: Path) -> None:
    async with opened(tmp_path, allow_actions=True) as desk, other(desk) as client:
        await client.get("/")
        link = f"/?token={desk.links[-1]}"
        no_clicks = [(await client.head(link)).status_code, (await client.get(f"/dead{link[1:]}")).status_code]
        opened_link, looked, again = await client.get(link), await client.get("/"), await other(desk).get(link)

    assert no_clicks == [401, 401]
    assert [answer.status_code for answer in (opened_link, looked, again)] == [303, 200, 401]
    assert opened_link.headers["location"] == "./"
    assert opened_link.headers["set-cookie"].endswith("; HttpOnly; Path=/; SameSite=lax")


async def test_strangers_cause_few_links(tmp_path: Path) -> None:
    async with opened(tmp_path, allow_actions=True) as desk, other(desk) as client:
        assert (await client.get("/live?page=overview")).status_code == 401
        assert len(desk.links) == 1, "a page that was left open asked"
        for _ in range(20):
            assert (await client.get("/")).status_code == 401

        assert len(desk.links) == 2


def test_link_that_is_old_works_no_more() -> None:
    clock, links = [0.0], list[str]()
    link = OneTimeLink(links.append, lambda: clock[0])
    link.offer()
    clock[0] = LINK_SECONDS - 1
    link.offer()
    assert len(links) == 1
    clock[0] = LINK_SECONDS

    assert not link.accept(links[0])
    link.offer()
    assert not link.accept(links[0])
    assert not link.accept("")
    assert link.accept(links[1])
    assert not link.accept("")


def test_tokens_and_sessions_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, compare = list[bytes](), hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda ours, given: compared.append(given) or compare(ours, given))
    link = OneTimeLink(lambda _: None)
    link.offer()

    assert not link.accept("é")
    assert not link.is_session("s")
    assert compared == ["é".encode(), b"s"]


async def test_wrong_link_leaves_a_trace_without_its_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(tmp_path, allow_actions=True) as desk, other(desk) as client:
        assert (await client.get("/?token=123abc")).status_code == 401
        metrics = (await client.get("/metrics")).text
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    assert lines == ["sign-in of '?' from 127.0.0.1 refused: wrong link"]
    assert 'sharded_queue_console_refused_sign_ins_total{reason="wrong_link"} 1.0' in metrics


async def test_console_that_only_shows_or_knows_people_prints_no_link(tmp_path: Path) -> None:
    for people, options in ((People(), {}), (People(header="x-person"), {"allow_actions": True})):
        async with opened(tmp_path, people, **options) as desk:
            assert (await desk.client.get("/", headers={"x-person": "ann"})).status_code == 200
            assert desk.links == []


@pytest.mark.redis
def test_link_is_printed_on_a_line_of_its_own_and_its_token_nowhere_else(tmp_path: Path) -> None:
    require_redis()
    server = RedisServer(tmp_path).start()
    environment = {"QUEUE_REDIS_ADDRESS": server.address, "QUEUE_LOG_LEVEL": "DEBUG"}
    process = CliProcess("web", "--port", "0", "--allow-actions", place=tmp_path, environment=environment)
    try:
        line = process.line("?token=")
        link = re.fullmatch(r" {4}(http://127\.0\.0\.1:\d+/)\?token=([0-9a-f]+)", line)
        assert link
        assert httpx.get(link[1]).status_code == 401
        with httpx.Client(follow_redirects=True) as client:
            assert client.get(line.strip()).url == link[1]
            assert client.get(f"{link[1]}dead").status_code == 200
        assert httpx.get(line.strip()).status_code == 401
        process.line("?token=", times=2)

        assert len(line) <= 80
        assert process.text.count(link[2]) == 1
    finally:
        process.kill()
        server.kill()
