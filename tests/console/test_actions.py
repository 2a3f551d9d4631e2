"""Each action of the console with its effect in Redis, for people whose role allows it, and refused to others."""

import json
import re
import signal
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import httpx
import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, expect
from redis.asyncio import Redis

from sharded_queue import Queue, RedisCoordinator, RedisStorage
from sharded_queue.coordinator import BindRequest
from sharded_queue.storage import Cause, Entry, Failure, Registration
from sharded_queue.tube import Shard
from sharded_queue.web.csrf import COOKIE
from tests.console.shop import ATTACK, Charge, Keyed, Mail
from tests.console.stage import MAILS, MODULE, Stage, Window, faults_of, longest_lines, stored
from tests.contract.users import line_of

pytestmark = pytest.mark.redis

CHARGE, MAIL, KEYED = Shard(Charge.name), Shard(Mail.name), Shard(Keyed.name)


def die(stage: Stage, *requests: str) -> None:
    """Have a worker move mails to the dead letters, until it did so with these."""
    worker = stage.run("worker", MODULE, QUEUE_WORKER_HANDLERS="shop.Mail")
    for request in requests:
        worker.line(re.compile(f"{request}.* goes to the dead letters"))
    worker.tell(signal.SIGTERM)  # it finishes what it logged
    worker.ended()


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "audit.jsonl"


@pytest.fixture(scope="module")
def filled(stage: Stage) -> Stage:
    """Requests that no worker takes, and mails that are dead."""
    stage.fill()
    die(stage, "request 2 of shop.Mail/a", "request 5 of shop.Mail/<")
    stage.register(Keyed, *range(20))
    stage.register(Charge, {"order": 1, "customer": 1}, delay_seconds=3600)
    stage.ask(
        lambda redis: Queue(RedisStorage(redis)).schedule(
            Charge, {"order": 2, "customer": 2}, name="nightly", cron="0 3 * * *"
        )
    )
    return stage


@pytest.fixture(scope="module")
def kept(filled: Stage) -> Sequence[tuple[bytes, bytes]]:
    """What all of that is in Redis."""

    async def dump(redis: Redis) -> Sequence[tuple[bytes, bytes]]:
        return [(key, await redis.dump(key)) for key in await redis.keys()]

    return cast("Sequence[tuple[bytes, bytes]]", filled.ask(dump))


@pytest.fixture(autouse=True)
def restore(filled: Stage, kept: Sequence[tuple[bytes, bytes]]) -> None:
    """No test finds what another one did."""

    async def refill(redis: Redis) -> None:
        async with redis.pipeline(transaction=True) as pipeline:
            pipeline.flushall()
            for key, value in kept:
                pipeline.restore(key, 0, value)
            await pipeline.execute()

    filled.ask(refill)


@pytest.fixture(scope="module")
def address(filled: Stage, audit: Path) -> str:
    """A console for everybody on this machine."""
    return filled.console("--module", MODULE, "--allow-actions", "--audit-log", str(audit))


def ask(page: Page, label: str) -> None:
    """The first step of an action: its question is another page."""
    page.get_by_role("link", name=label).click()
    page.wait_for_url(re.compile(r"/confirm\?"))


def confirm(page: Page, label: str) -> None:
    """The last step of an action; then its page says what became of it."""
    page.get_by_role("button", name=label, exact=True).click()
    page.wait_for_url(re.compile(r"job\?id="))


def said(audit: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(audit.read_text().splitlines()[-1])
    return found


def test_pause_and_resume_of_a_thread(address: str, stage: Stage, window: Callable[..., Window], audit: Path) -> None:
    page = window().open(f"{address}thread?handler=shop.Charge&thread=9")
    ask(page, "Pause")
    expect(page.locator("h1")).to_have_text("Pause thread 9 of shop.Charge?")
    confirm(page, "Pause")

    expect(page.locator("h1")).to_have_text("Thread 9 of shop.Charge is paused")
    assert stored(stage, lambda storage: storage.paused(CHARGE)) == ["9"]
    assert said(audit) | {"time": "", "job": ""} == {
        "time": "",
        "audit": "pause",
        "person": "anybody",
        "role": "admin",
        "address": "127.0.0.1",
        "handler": "shop.Charge",
        "thread": "9",
        "job": "",
        "result": "Thread 9 of shop.Charge is paused",
    }
    assert datetime.fromisoformat(said(audit)["time"])

    page.get_by_role("link", name="Back").click()
    ask(page, "Resume")
    confirm(page, "Resume")

    assert stored(stage, lambda storage: storage.paused(CHARGE)) == []


def test_pause_of_a_thread_for_a_time(address: str, stage: Stage, window: Callable[..., Window]) -> None:
    page = window().open(f"{address}confirm?action=pause&handler=shop.Charge&thread=9")
    page.get_by_label("For how long?").fill("soon")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("main")).to_contain_text("'soon' is no length of time: write it as 90s, 30m, 2h or 1d12h")
    page = window().open(f"{address}confirm?action=pause&handler=shop.Charge&thread=9")
    page.get_by_label("Why?").fill("the bank is down")
    page.get_by_label("For how long?").fill("30m")
    confirm(page, "Pause")

    expect(page.locator("h1")).to_have_text("Thread 9 of shop.Charge is paused for 30 min 0 s")
    by = stored(stage, lambda storage: storage.pauses(CHARGE))["9"]
    assert by.until_ms == by.paused_ms + 1_800_000
    page.goto(f"{address}thread?handler=shop.Charge&thread=9")
    expect(page.locator("main")).to_contain_text(" until 2")
    stored(stage, lambda storage: storage.pause(CHARGE, "9", False))


async def exhaust(redis: Redis) -> None:
    storage, coordinator = RedisStorage(redis), RedisCoordinator(redis)
    await storage.register(CHARGE, Registration([Entry("strict", 0, [b"[1]", b"[2]"])]))
    batches = (await coordinator.bind(CHARGE, BindRequest("w/1", 100, 1, 60))).batches
    batch = next(batch for batch in batches if batch.lease.thread == "strict")
    await storage.fail(Failure(batch.lease, 0, batch.first, 3, "Refused: no cover", stops=True))
    await coordinator.release([each.lease for each in batches if each is not batch])


def test_exhausted_thread_is_tried_again(address: str, stage: Stage, window: Callable[..., Window]) -> None:
    stage.ask(exhaust)
    page = window().open(f"{address}thread?handler=shop.Charge&thread=strict")
    expect(page.locator("main")).to_contain_text("strict is exhausted: its first request failed 3 times")
    page.goto(f"{address}handler?handler=shop.Charge")
    expect(page.locator("main")).to_contain_text("1 thread of shop.Charge is exhausted")
    ask(page, "Try the exhausted again")
    expect(page.locator("h1")).to_have_text("Try 1 exhausted thread of shop.Charge again?")
    confirm(page, "Try the exhausted again")

    expect(page.locator("h1")).to_have_text("1 thread of shop.Charge is tried again")
    assert stored(stage, lambda storage: storage.exhausted(CHARGE)) == ([], "")
    dropped = stored(stage, lambda storage: storage.drop(CHARGE, "strict", Cause("ann", "done")))
    stored(stage, lambda storage: storage.settle_dead(CHARGE, dropped.letters, "drop"))


def test_pause_of_a_handler(address: str, stage: Stage, window: Callable[..., Window]) -> None:
    page = window().open(f"{address}handler?handler=shop.Keyed")
    ask(page, "Pause")
    expect(page.locator("main")).to_contain_text("20 requests wait now")
    confirm(page, "Pause")

    (state,) = stored(stage, lambda storage: storage.observe([KEYED]))
    assert state.is_paused


def test_reshard(address: str, stage: Stage, window: Callable[..., Window]) -> None:
    page = window().open(f"{address}handler?handler=shop.Keyed")
    page.get_by_label("Spread its keys over another number of threads").fill("8")
    page.get_by_role("button", name="Change it").click()
    confirm(page, "Change the number of threads")

    (state,) = stored(stage, lambda storage: storage.observe([KEYED]))
    assert state.layout.threads == 8


def test_ticked_letters_go_back_to_their_tubes(
    address: str, stage: Stage, window: Callable[..., Window], audit: Path
) -> None:
    page = window().open(f"{address}dead?{urlencode({'handler': 'shop.Mail', 'of_thread': ATTACK})}")
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Replay to the tail").click()
    expect(page.locator("h1")).to_have_text("Replay 1 dead letter of shop.Mail?")
    confirm(page, "Replay to the tail")

    state = stored(stage, lambda storage: storage.explain(MAIL, ATTACK))
    assert [tube.depth for tube in state.tubes] == [1]
    assert said(audit)["count"] == 1


def test_all_letters_that_match_are_dropped_and_no_others(
    address: str, stage: Stage, window: Callable[..., Window]
) -> None:
    page = window().open(f"{address}dead?handler=shop.Mail")
    page.get_by_label("Thread", exact=True).fill("a/b?c=d&e#f")
    page.get_by_role("button", name="Search").click()
    ask(page, "Drop")
    expect(page.locator("h1")).to_contain_text(f"Drop {MAILS} dead letters of shop.Mail of thread")
    page.get_by_label("Why?").fill("no such customer")
    confirm(page, "Drop")

    left = stored(stage, lambda storage: storage.dead(MAIL))
    assert {letter.thread for letter in left} == {ATTACK}
    (drop,) = stored(stage, lambda storage: storage.drops(MAIL))
    assert (drop.actor, drop.reason, drop.requests) == ("anybody", "no such customer", MAILS)


def test_letter_that_died_after_the_question_is_left_alone(
    address: str, stage: Stage, window: Callable[..., Window]
) -> None:
    page = window().open(f"{address}confirm?action=drop-letters&handler=shop.Mail&all=yes")
    before = len(stored(stage, lambda storage: storage.dead(MAIL)))
    stage.register(Mail, {"to": "late", "text": ""})
    die(stage, r"request \d+ of shop.Mail/late")
    assert len(stored(stage, lambda storage: storage.dead(MAIL))) > before
    page.get_by_label("Why?").fill("too late")
    confirm(page, "Drop")

    assert {letter.thread for letter in stored(stage, lambda storage: storage.dead(MAIL))} >= {"late"}


def test_delayed_request_is_moved(address: str, stage: Stage, window: Callable[..., Window], audit: Path) -> None:
    (before,) = stored(stage, lambda storage: storage.delayed(CHARGE))
    page = window().open(f"{address}later?handler=shop.Charge")
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Move").click()
    page.get_by_label("The new time, in UTC").fill("2020-01-31T09:00:00")
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("alert")).to_contain_text("The new time is 2020-01-31T09:00:00Z: give one after 2")

    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    page.get_by_label("The new time, in UTC").fill(f"{later:%Y-%m-%dT%H:%M:%S}")
    page.get_by_role("button", name="Next").click()
    expect(page.locator("h1")).to_have_text(f"Move 1 delayed request of shop.Charge to {later:%Y-%m-%dT%H:%M:%SZ}?")
    assert stored(stage, lambda storage: storage.delayed(CHARGE)) == [before]
    confirm(page, "Move")

    assert stored(stage, lambda storage: storage.delayed(CHARGE)) == [
        before._replace(due_ms=int(later.timestamp() * 1000))
    ]
    assert (said(audit)["audit"], said(audit)["at"]) == ("delayed move", f"{later:%Y-%m-%dT%H:%M:%SZ}")
    page.get_by_role("link", name="Back").click()
    expect(page).to_have_url(f"{address}later?handler=shop.Charge")


def test_schedule_is_edited(address: str, stage: Stage, window: Callable[..., Window], audit: Path) -> None:
    page = window().open(f"{address}later?handler=shop.Charge")
    page.get_by_role("link", name="Edit: nightly").click()
    timing = page.get_by_label("The new timing")
    expect(timing).to_have_value("cron 0 3 * * * in UTC")
    for wrong, why in (("hourly", "'hourly' is not a timing"), ("cron 0 3 * * in UTC", "give five fields")):
        timing.fill(wrong)
        page.get_by_role("button", name="Next").click()
        expect(page.get_by_role("alert")).to_contain_text(why)
    timing.fill("every 7200 s")
    page.get_by_role("button", name="Next").click()
    expect(page.locator("h1")).to_have_text("Change the timing of nightly of shop.Charge to every 7200 s?")
    expect(page.locator("main")).to_contain_text("puts its own timing back")
    confirm(page, "Edit")

    (found,) = stored(stage, lambda storage: storage.schedules(CHARGE))
    assert found.timing == "every 7200 s"
    assert 7100 < found.next_ms / 1000 - time.time() < 7201
    assert (said(audit)["audit"], said(audit)["timing"]) == ("schedules edit", "every 7200 s")


def test_schedule_that_is_gone_cannot_be_edited(address: str, window: Callable[..., Window]) -> None:
    page = window().open(f"{address}confirm?action=edit-schedule&handler=shop.Charge&schedule=gone")

    expect(page.locator("h1")).to_contain_text("shop.Charge has no schedule 'gone'")


def test_delayed_request_is_cancelled(address: str, stage: Stage, window: Callable[..., Window]) -> None:
    page = window().open(f"{address}later?handler=shop.Charge")
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Cancel").click()
    confirm(page, "Cancel")

    assert stored(stage, lambda storage: storage.delayed(CHARGE)) == []


def test_schedule_is_run_now(address: str, stage: Stage, window: Callable[..., Window]) -> None:
    page = window().open(f"{address}later?handler=shop.Charge")
    ask(page, "Run now: nightly")
    confirm(page, "Run now")

    tubes = stored(stage, lambda storage: storage.explain(CHARGE, "2")).tubes
    assert [tube.depth for tube in tubes] == [5]


def test_schedule_is_removed(address: str, stage: Stage, window: Callable[..., Window]) -> None:
    page = window().open(f"{address}later?handler=shop.Charge")
    ask(page, "Remove the schedule: nightly")
    confirm(page, "Remove the schedule")

    assert not stored(stage, lambda storage: storage.has_schedule(CHARGE, "nightly"))


def test_waiting_request_and_then_its_thread_are_dropped_with_a_reason(
    address: str, stage: Stage, window: Callable[..., Window]
) -> None:
    page = window().open(f"{address}thread?handler=shop.Charge&thread=4")
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Drop").click()
    expect(page.locator("h1")).to_have_text("Drop 1 request of thread 4 of shop.Charge?")
    page.get_by_label("Why?").fill("ordered twice")
    confirm(page, "Drop")

    (letter,) = stored(stage, lambda storage: storage.dead(CHARGE))
    assert letter.error == "dropped by anybody: ordered twice"

    page.goto(f"{address}thread?handler=shop.Charge&thread=4")
    ask(page, "Drop the whole thread")
    expect(page.locator("h1")).to_have_text("Drop thread 4 of shop.Charge, with 3 requests?")
    page.get_by_label("Why?").fill("closed")
    confirm(page, "Drop")

    assert not stored(stage, lambda storage: storage.explain(CHARGE, "4")).tubes


def test_console_works_as_the_users_of_redis_for_it(
    filled: Stage, window: Callable[..., Window], tmp_path: Path
) -> None:
    """The viewer reads all pages, and an action that the console allows is refused by Redis; the admin acts."""
    for user in ("viewer", "admin"):
        words = line_of(user).split()
        filled.ask(lambda redis, user=user, words=words: redis.execute_command("ACL", "SETUSER", user, *words))
        rights = {"QUEUE_REDIS_USERNAME": user, "QUEUE_REDIS_PASSWORD": f"change-me-{user}"}
        address = filled.console("--allow-actions", "--audit-log", str(tmp_path / "audit"), **rights)
        page = window().open(address)
        for path in ("", "thread?handler=shop.Charge&thread=5", "dead", "later", "workers"):
            page.goto(f"{address}{path}")
            assert not page.get_by_text("Redis refused").count()
            assert not page.get_by_role("alert").count()
        page.goto(f"{address}confirm?action=pause&handler=shop.Charge&thread=5")
        confirm(page, "Pause")
        sentence = "Redis refused" if user == "viewer" else "Thread 5 of shop.Charge is paused"
        expect(page.locator("h1")).to_contain_text(sentence)


def post(address: str, fields: dict[str, str], **headers: str) -> int:
    return httpx.post(f"{address}act", data=fields, headers=headers).status_code


def cookies_of(page: Page) -> str:
    """As the browser sends them to the page."""
    return "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in page.context.cookies(page.url))


PAUSE = {"action": "pause", "handler": "shop.Charge", "thread": "3"}


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None])
def test_other_site_cannot_act(address: str, stage: Stage, window: Callable[..., Window], origin: str | None) -> None:
    """Even with the cookie and the token of a person."""
    page = window().open(f"{address}confirm?{urlencode(PAUSE)}")
    token = page.locator("input[name=token]").get_attribute("value") or ""
    headers = {"Cookie": cookies_of(page)} | ({"Origin": origin} if origin else {})

    assert post(address, PAUSE | {"token": token}, **headers) == 403
    assert "3" not in stored(stage, lambda storage: storage.paused(CHARGE))


def test_form_without_the_token_of_its_browser_is_refused(
    address: str, stage: Stage, window: Callable[..., Window]
) -> None:
    page = window().open(f"{address}confirm?{urlencode(PAUSE)}")
    headers = {"Cookie": cookies_of(page), "Origin": address.rstrip("/")}
    (cookie,) = [cookie for cookie in page.context.cookies() if cookie["name"] == COOKIE]

    assert cookie["sameSite"] == "Strict"
    assert cookie["httpOnly"]
    assert post(address, PAUSE | {"token": "0" * 64}, **headers) == 403
    assert "3" not in stored(stage, lambda storage: storage.paused(CHARGE))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_with_actions_are_for_everybody(address: str, window: Callable[..., Window], scheme: str) -> None:
    shown = window(color_scheme=scheme, viewport={"width": 375, "height": 800})
    paths = {
        "handler": "handler?handler=shop.Keyed",
        "dead": "dead?handler=shop.Mail",
        "later": "later?handler=shop.Charge",
        "workers": "workers",
        "confirm": f"confirm?{urlencode(PAUSE)}",
        "say first": "confirm?action=move-delayed&handler=shop.Charge&numbers=0:1&at=2020-01-31T09:00:00",
    }
    found = {}
    for name, path in paths.items():
        shown.open(f"{address}{path}")
        found[name] = faults_of(shown)
    shown.open(f"{address}confirm?action=pause&handler=shop.Keyed")
    confirm(shown.page, "Pause")
    found["job"] = faults_of(shown)

    assert found == dict.fromkeys([*paths, "job"], "375 pixels wide")
    assert shown.hosts == {address.split("/")[2]}
    assert not shown.faults


def test_lines_of_pages_with_actions_stay_short_on_a_large_screen(address: str, window: Callable[..., Window]) -> None:
    page = window(viewport={"width": 2560, "height": 1440}).page
    found = {}
    for path in ("dead?handler=shop.Mail", "later?handler=shop.Charge", "workers", f"confirm?{urlencode(PAUSE)}"):
        page.goto(f"{address}{path}")
        lines = longest_lines(page)
        width = page.evaluate("document.documentElement.scrollWidth")
        found[path] = width, lines["prose"] <= 100, lines["code"] <= 140

    assert set(found.values()) == {(2560, True, True)}, found


def test_console_that_only_shows_offers_and_does_nothing(filled: Stage, window: Callable[..., Window]) -> None:
    address = filled.console("--module", MODULE)
    page = window().open(f"{address}thread?handler=shop.Charge&thread=9")

    expect(page.locator("h1")).to_contain_text("Thread 9")
    assert not page.get_by_role("link", name="Pause").count()
    page.goto(f"{address}confirm?{urlencode(PAUSE)}")
    expect(page.locator("h1")).to_contain_text("it was started without --allow-actions")


def test_roles(filled: Stage, window: Callable[..., Window], tmp_path: Path) -> None:
    """Of a file, with secrets: who is unknown sees nothing, a viewer looks, an operator pauses, an admin drops."""
    from sharded_queue.web.people import digest_of

    users = tmp_path / "users"
    users.write_text("".join(f"{role} {role} {digest_of('secret')}\n" for role in ("viewer", "operator", "admin")))
    address = filled.console("--module", MODULE, "--allow-actions", "--users", str(users))
    offered = {}
    for role in ("viewer", "operator", "admin"):
        page = window(http_credentials={"username": role, "password": "secret"}).open(
            f"{address}dead?handler=shop.Mail"
        )
        expect(page.locator(".person")).to_have_text(f"{role} · {role}")
        offered[role] = page.locator("p.actions a.button").all_inner_texts()
        page.goto(f"{address}confirm?action=drop-letters&handler=shop.Mail&all=yes")
        asks = page.locator("h1").inner_text().startswith("Drop")
        assert asks == (role == "admin")

    replays = ["Replay to the tail", "Replay to the head"]
    assert offered == {"viewer": [], "operator": replays, "admin": [*replays, "Drop"]}
    for headers in ({}, {"Authorization": "Bearer viewer:wrong"}, {"Authorization": "Bearer nobody:secret"}):
        assert status_of(address, headers) == 401
    assert status_of(address, {"Authorization": "Bearer viewer:secret"}) == 200


def status_of(address: str, headers: dict[str, str]) -> int:
    return httpx.get(address, headers=headers).status_code


def test_person_that_a_proxy_names_is_in_the_audit_log(
    filled: Stage, window: Callable[..., Window], tmp_path: Path
) -> None:
    users, audit = tmp_path / "users", tmp_path / "audit"
    users.write_text("alice@example.com operator\n")
    address = filled.console(
        *("--module", MODULE, "--allow-actions", "--trusted-proxy-header", "X-Forwarded-User"),
        *("--trusted-proxy", "127.0.0.1", "--users", str(users), "--audit-log", str(audit)),
    )
    page = window(extra_http_headers={"X-Forwarded-User": "alice@example.com"}).open(
        f"{address}confirm?{urlencode(PAUSE)}"
    )
    confirm(page, "Pause")

    assert said(audit)["person"] == "alice@example.com"
    assert said(audit)["role"] == "operator"


def test_console_answers_to_its_own_names_only(address: str) -> None:
    assert status_of(address, {"Host": "rebound.example"}) == 421
    assert status_of(address, {"Host": "localhost:1"}) == 401, "its link was for another name"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--allow-actions", "--address", "0.0.0.0"], "say who acts with --users FILE or --trusted-proxy-header NAME"),
        (["--trusted-proxy-header", "X-User"], "add --trusted-proxy ADDRESS"),
        (["--users", "nowhere"], "the users in nowhere cannot be read"),
        (["--role-of", "os:nothing"], "has no function 'nothing'"),
    ],
)
def test_start_that_is_not_safe_is_refused(words: list[str], sentence: str) -> None:
    from sharded_queue.cli.program import main

    result = CliRunner().invoke(main, ["web", "--port", "0", *words])

    assert result.exit_code == 2
    assert sentence in result.output
