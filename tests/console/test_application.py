"""The console without a browser and without Redis: what it refuses, what it asks, and what it sends."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, get_ident
from typing import Any

import httpx
import pytest
from starlette.datastructures import QueryParams
from starlette.requests import Request

from sharded_queue import Queue, Retry, Route, RuntimeCoordinator, RuntimeStorage, Worker
from sharded_queue.admin.bodies import Bodies
from sharded_queue.admin.handlers import Named
from sharded_queue.admin.search import Search
from sharded_queue.coordinator import BindRequest
from sharded_queue.handler import Handler
from sharded_queue.printable import instant
from sharded_queue.state import Dead, Report, ShardState
from sharded_queue.storage import LetterPage
from sharded_queue.tube import Shard
from sharded_queue.web.app import BY_NAME, MOST_QUESTIONS, PAGES, Console, Options
from sharded_queue.web.audit import Audit
from sharded_queue.web.details import FREE_SECONDS, FRESH_SECONDS, READS_AT_ONCE, Answer, Details, Question
from sharded_queue.web.live import MOST_PAGES, PAGES_A_PERSON, ROUND_SECONDS, Channels, Places, Splice, difference
from sharded_queue.web.people import People, Person, Role, User, UserFile, credentials, digest_of, fits, users_in
from sharded_queue.web.proxies import Proxies
from sharded_queue.web.reader import seconds_between_scans
from sharded_queue.web.searches import MOST_SEARCHES

HANDLER = "shop.Paid"
SHARD = Shard(HANDLER)
ORIGIN = "http://localhost"


class Paid(Handler):
    """Fails whatever it gets, for good."""

    name = HANDLER
    retry = Retry(limit=1, base_seconds=0, cap_seconds=0)

    @classmethod
    async def route(cls, *customers: str) -> list[Route]:
        return [Route(thread=customer) for customer in customers]

    async def perform(self, *customers: str) -> None:
        raise ValueError("declined")


class Desk:
    """A console over a queue in memory, a client of it, and the tokens of the links that it printed."""

    def __init__(self, storage: RuntimeStorage, console: Console, client: httpx.AsyncClient, links: list[str]) -> None:
        self.storage, self.console, self.client, self.links = storage, console, client, links

    async def open_link(self) -> None:
        """As the person does who started the console, where it printed a link."""
        if self.console.link:
            self.console.link.offer()
            assert (await self.client.get("/", params={"token": self.links[-1]})).status_code == 303

    async def token(self, **fields: str) -> str:
        page = await self.client.get("/confirm", params=fields)
        found = re.search(r'name="token" value="(\w+)"', page.text)
        return found[1] if found else ""

    async def act(self, token: str, origin: str | None = ORIGIN, **fields: str) -> int:
        headers = {"Origin": origin} if origin else {}
        return (await self.client.post("/act", data={"token": token, **fields}, headers=headers)).status_code

    async def die(self, *customers: str) -> None:
        queue = Queue(self.storage)
        await queue.register(Paid, *customers)
        await Worker(RuntimeCoordinator(), queue, handlers=[Paid]).loop(len(customers))


@asynccontextmanager
async def opened(folder: Path, people: People | None = None, **options: Any) -> AsyncIterator[Desk]:
    storage = RuntimeStorage()
    options = {"proxies": Proxies("127.0.0.1"), **options}
    given = Options(chosen=[Named(HANDLER, 1)], people=people or People(), audit=Audit(folder / "audit"), **options)
    links = list[str]()
    console = Console(storage, given, links.append)  # type: ignore[arg-type]  # it asks what every storage answers
    await console.reader.round()
    transport = httpx.ASGITransport(console.application())
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        desk = Desk(storage, console, client, links)
        await desk.open_link()
        yield desk


PAUSE = {"action": "pause", "handler": HANDLER}


async def is_paused(desk: Desk) -> bool:
    (state,) = await desk.storage.observe([SHARD])
    return state.is_paused


async def test_confirmed_action_is_carried_out(tmp_path: Path) -> None:
    async with opened(tmp_path, allow_actions=True) as desk:
        assert await desk.act(await desk.token(**PAUSE), **PAUSE) == 303
        assert await is_paused(desk)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None])
async def test_action_of_another_site_is_refused(tmp_path: Path, origin: str | None) -> None:
    async with opened(tmp_path, allow_actions=True) as desk:
        assert await desk.act(await desk.token(**PAUSE), origin, **PAUSE) == 403
        assert not await is_paused(desk)


async def test_action_without_the_token_of_its_session_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, allow_actions=True) as desk:
        await desk.token(**PAUSE)

        assert await desk.act("0" * 64, **PAUSE) == 403
        assert not await is_paused(desk)


async def test_console_that_only_shows_does_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        (session, token) = ("s", desk.console.tokens._token("s", "anybody"))
        desk.client.cookies.set("sharded-queue-console", session)

        assert await desk.act(token, **PAUSE) == 400
        assert not await is_paused(desk)


async def test_role_that_is_too_low_does_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, People(header="x-person"), allow_actions=True) as desk:
        desk.client.headers["x-person"] = "victor"
        desk.client.cookies.set("sharded-queue-console", "s")

        assert await desk.act(desk.console.tokens._token("s", "victor"), **PAUSE) == 400
        assert not await is_paused(desk)


async def test_person_who_is_not_known_sees_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, People(header="x-person", default=None)) as desk:
        for headers in ({}, {"x-person": "mallory"}):
            assert (await desk.client.get("/", headers=headers)).status_code == 401


async def test_letters_that_die_after_the_question_are_left_alone(tmp_path: Path) -> None:
    drop = {"action": "drop-letters", "handler": HANDLER, "all": "yes"}
    async with opened(tmp_path, allow_actions=True) as desk:
        await desk.die("a")
        page = await desk.client.get("/confirm", params=drop)
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))
        await desk.die("b")
        await desk.act(fields.pop("token"), reason="wrong", **fields)

        assert [letter.thread for letter in await desk.storage.dead(SHARD)] == ["b"]


class Reading:
    """How many dead letters a console read at a time."""

    def __init__(self, storage: RuntimeStorage) -> None:
        self.pages = list[int]()
        storage.read_letters, self._read = self.read, storage.read_letters  # type: ignore[method-assign]
        storage.dead = self.dead  # type: ignore[method-assign]

    async def read(self, shard: Shard, numbers: Sequence[int]) -> LetterPage:
        page = await self._read(shard, numbers[:2])
        self.pages.append(len(page.letters))
        return page

    async def dead(self, shard: Shard, count: int = 100) -> list[Dead]:
        raise AssertionError("all letters are read at once")


async def test_question_counts_letters_and_reads_them_in_pages_for_a_search_alone(tmp_path: Path) -> None:
    async with opened(tmp_path, allow_actions=True) as desk:
        await desk.die(*"abcde")
        reading = Reading(desk.storage)
        found = []
        for chosen in ({"all": "yes"}, {"numbers": ["0:1", "0:3"]}, {"all": "yes", "error": "declined"}):
            page = await desk.client.get("/confirm", params={"action": "replay-tail", "handler": HANDLER, **chosen})
            found += [*re.findall(r"Replay (\d) dead letters", page.text)[:1], str(reading.pages)]

    assert found == ["5", "[]", "2", "[]", "5", "[2, 2, 1]"]


async def test_questions_of_a_person_are_answered_one_at_a_time(tmp_path: Path) -> None:
    async with opened(tmp_path, People(header="x-person", default="admin"), allow_actions=True) as desk:
        may_go, asked = asyncio.Event(), list[str]()

        async def observe(shards: Sequence[Shard], worst: int = 10, holds: int = 1000) -> list[ShardState]:
            asked.append("once more")
            await may_go.wait()
            return await RuntimeStorage.observe(desk.storage, shards, worst, holds)

        desk.storage.observe = observe  # type: ignore[method-assign]

        async def ask(person: str) -> int:
            return (await desk.client.get("/confirm", params=PAUSE, headers={"x-person": person})).status_code

        questions = [asyncio.create_task(ask("ann")) for _ in range(20)]
        refused, _ = await asyncio.wait(questions, return_when=asyncio.FIRST_COMPLETED)
        assert {each.result() for each in refused} == {429}
        assert len(asked) == 1
        of_bob = asyncio.create_task(ask("bob"))
        while len(asked) < 2:  # noqa: ASYNC110 - the console tells nobody
            await asyncio.sleep(0)
        may_go.set()

        assert await of_bob == 200
        assert Counter(await asyncio.gather(*questions)) == {200: MOST_QUESTIONS, 429: 20 - MOST_QUESTIONS}


async def test_action_whose_question_is_one_too_many_is_refused_as_its_question_is(tmp_path: Path) -> None:
    async with opened(tmp_path, allow_actions=True) as desk:
        token = await desk.token(**PAUSE)
        asked = asyncio.Event()

        async def ask() -> None:
            async with desk.console.questions.enter("anybody"):
                await asked.wait()

        questions = [asyncio.create_task(ask()) for _ in range(MOST_QUESTIONS)]
        await asyncio.sleep(0)
        confirmed = (await desk.client.get("/confirm", params=PAUSE)).status_code

        assert (confirmed, await desk.act(token, **PAUSE)) == (429, 429)
        assert not await is_paused(desk)
        asked.set()
        await asyncio.wait(questions)


@pytest.mark.parametrize(
    ("site", "mode", "dest", "status"),
    [
        ("cross-site", "no-cors", "image", 403),
        ("same-site", "cors", "empty", 403),
        ("cross-site", "navigate", "iframe", 403),
        ("cross-site", "navigate", "document", 200),
        ("same-origin", "cors", "empty", 200),
        ("none", "navigate", "document", 200),
    ],
)
async def test_page_of_another_site_has_nothing_read(
    tmp_path: Path, site: str, mode: str, dest: str, status: int
) -> None:
    async with opened(tmp_path, allow_actions=True) as desk:
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}

        assert (await desk.client.get("/confirm", params=PAUSE, headers=headers)).status_code == status


@pytest.mark.parametrize("thread", ["a\nb", "\u202e", "x" * 257])
async def test_thread_that_no_request_can_have_is_not_paused(tmp_path: Path, thread: str) -> None:
    async with opened(tmp_path, allow_actions=True) as desk:
        pause = PAUSE | {"thread": thread, "force": "yes"}
        asked = await desk.client.get("/confirm", params=pause)

        assert (asked.status_code, await desk.act(await desk.token(**PAUSE), **pause)) == (400, 400)
        assert await desk.storage.paused(SHARD) == []


@pytest.mark.parametrize(
    "action", ["replay-tail", "replay-head", "drop-letters", "cancel", "run-delayed", "move-delayed", "drop-requests"]
)
async def test_nothing_ticked_never_stands_for_all(tmp_path: Path, action: str) -> None:
    about = {"action": action, "handler": HANDLER, "thread": "a", "at": "2999-01-01T00:00:00", "reason": "none"}
    async with opened(tmp_path, allow_actions=True) as desk:
        await desk.die("a")
        asked = await desk.client.get("/confirm", params=about)
        done = await desk.act(await desk.token(**PAUSE), **about)

        assert (asked.status_code, done) == (400, 400)
        assert "by their numbers, or all of them" in asked.text
        assert len(await desk.storage.dead(SHARD)) == 1


async def test_name_of_another_host_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        assert (await desk.client.get("/", headers={"Host": "rebound.example"})).status_code == 421
        assert (await desk.client.get("/livez", headers={"Host": "10.1.2.3:8090"})).status_code == 200


async def test_every_answer_forbids_what_is_not_ours(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        for path in ("/", "/handler?handler=nothing", "/static/console.js", "/nowhere"):
            headers = (await desk.client.get(path)).headers
            assert headers["content-security-policy"].startswith(
                "default-src 'none'; script-src 'self'; style-src 'self'"
            )
            assert headers["x-frame-options"] == "DENY"
            assert headers["cache-control"] == "no-store"


async def test_direction_marks_of_a_name_are_spelled_out(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        page = await desk.client.get("/thread", params={"handler": HANDLER, "thread": "a\u202eb<i>"})

        assert "a\\u202eb&lt;i&gt;" in page.text
        assert "\u202e" not in page.text
        assert "<i>" not in page.text


async def test_hundred_pages_ask_a_bounded_number_of_questions() -> None:
    asked: list[Question] = []

    async def read(question: Question) -> None:
        asked.append(question)

    details = Details({"explain": read})
    questions = [Question("explain", HANDLER, str(number)) for number in range(100)]
    for question in questions:
        await details.fetch([question, question])
    details.wanted = set(questions)
    await details.refresh()

    assert len(asked) == READS_AT_ONCE


class Looking:
    """Which OS thread compared a letter with a search, for each comparison."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads = list[int]()
        finds = Search.finds

        def look(search: Search, handler: str, letter: Dead, bodies: Bodies) -> bool:
            self.threads.append(get_ident())
            return finds(search, handler, letter, bodies)

        monkeypatch.setattr(Search, "finds", look)


SEARCH = {"handler": HANDLER, "text": "(a+)+$"}


async def test_search_is_made_once_for_all_pages_and_never_by_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = Looking(monkeypatch)
    async with opened(tmp_path) as desk:
        await desk.die(*"abc")
        await desk.console.reader.round()
        view = desk.console.view(BY_NAME["dead"], QueryParams(SEARCH), Person("ann", "viewer"))
        answers = [desk.client.get("/dead", params=SEARCH | {"from": str(row)}) for row in range(10)]
        pages = {page.text for page in await asyncio.gather(*answers)}
        followers = [desk.console.channels.follow((str(number),), view) for number in range(10)]
        for follower in followers:
            await anext(follower)
        assert len(looking.threads) == 3

        await desk.console.after_round()  # it reads the letters again
        await desk.console.details.reads["search"](view.questions()[-1])

        assert len(looking.threads) == 6
        assert get_ident() not in looking.threads
        assert all("0 dead letters of shop.Paid with &#39;(a+)+$&#39; in them" in page for page in pages)
        for follower in followers:
            await follower.aclose()


async def test_searches_wait_for_each_other_and_a_flood_of_them_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as desk:
        await desk.die("a")
        await desk.console.reader.round()
        may_go, running, most = Event(), 0, 0

        def finds(*_: Any) -> bool:
            nonlocal running, most
            running += 1
            most = max(most, running)
            may_go.wait()
            running -= 1
            return True

        monkeypatch.setattr(Search, "finds", finds)
        asked = [
            asyncio.create_task(desk.client.get("/dead", params=SEARCH | {"text": str(number)}))
            for number in range(2 * MOST_SEARCHES)
        ]
        done, _ = await asyncio.wait(asked, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        may_go.set()
        assert "32 searches are waiting: reload the page later" in done.pop().result().text
        texts = [(await each).text for each in asked]

    assert most == 1
    assert sum("searches are waiting" in text for text in texts) == MOST_SEARCHES


async def test_round_looks_for_a_while_and_goes_on_in_the_next() -> None:
    clock, found = [1000.0], list[str]()

    async def search(question: Question) -> None:
        found.append(question.search[0])
        clock[0] += FREE_SECONDS / 2

    details = Details({"search": search}, lambda _: 0, lambda: clock[0])
    details.wanted = {Question("search", HANDLER, search=(text,)) for text in "abcde"}
    for _ in range(3):
        await details.refresh()

    assert [len(found), *sorted(found[:5])] == [6, *"abcde"]


async def test_a_page_shows_what_is_found_in_the_letters_that_were_read_for_it() -> None:
    """A round that searched before they were read left an empty answer for a second, and the page had no buttons."""

    async def read(question: Question) -> list[str]:
        return ["late"]

    async def search(question: Question) -> list[str]:
        return list(details.known(asked[0]).value or [])

    asked = [Question("letters", HANDLER), Question("search", HANDLER, search=("a",))]
    details = Details({"letters": read, "search": search}, lambda question: question.kind == "letters")
    details.wanted = {asked[1]}
    await details.refresh()
    assert details.known(asked[1]).value == []
    await details.fetch(asked)

    assert details.known(asked[1]).value == ["late"]


async def test_what_no_page_shows_any_more_keeps_no_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(question: Question) -> str:
        return "letters"

    details = Details({"search": read, "letters": read}, lambda question: question.kind == "letters")
    questions = [Question("letters", HANDLER), Question("search", HANDLER, search=("a",))]
    await details.fetch(questions)
    monkeypatch.setattr(Answer, "age_seconds", FRESH_SECONDS + 1)
    await details.refresh()

    assert list(details.answers) == questions[:1]


@pytest.mark.parametrize(("taken", "pause"), [(0.001, 30), (0.1, 100), (5, 600)])
def test_scans_for_handlers_take_a_thousandth_of_the_time(taken: float, pause: float) -> None:
    assert seconds_between_scans(taken) == pytest.approx(pause)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["a", "b", "c"], ["a", "x", "c"]),
        (["a", "b", "c", "d"], ["x", "b", "c", "y"]),
        (["a", "b"], ["a", "b", "c"]),
        (["a", "b", "b", "c"], ["a", "b", "c"]),
        ([], ["a"]),
        (["a"], []),
        (["a"], ["a"]),
    ],
)
def test_splices_turn_a_page_into_the_next(before: list[str], after: list[str]) -> None:
    assert spliced(before, difference(before, after)) == after


class CountedView:
    """A page that takes a whole round to render."""

    def __init__(self, clock: list[float]) -> None:
        self.clock, self.renders = clock, 0

    def render(self) -> str:
        self.clock[0] += ROUND_SECONDS
        self.renders += 1
        return str(self.renders)

    def questions(self) -> list[Question]:
        return []


async def test_round_of_live_pages_stops_after_a_while_and_goes_on_in_the_next() -> None:
    clock = [0.0]
    channels, views = Channels(lambda: clock[0]), [CountedView(clock) for _ in range(3)]
    followers = [channels.follow((str(number),), view) for number, view in enumerate(views)]
    for follower in followers:
        await anext(follower)
    rendered = []
    for _ in range(3):
        await channels.publish()
        rendered.append([view.renders - 1 for view in views])

    assert rendered == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    for follower in followers:
        await follower.aclose()


async def test_parameters_that_a_page_does_not_know_make_no_other_page(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        person = Person("anybody", "admin")
        views = [
            desk.console.view(page, QueryParams({"from": "25", "handler": HANDLER, "junk": str(number)}), person)
            for page in PAGES
            for number in range(100)
        ]

    assert len({view.key for view in views}) == len(PAGES)


def test_nobody_has_more_than_some_live_pages_and_all_together_not_many() -> None:
    places = Places()
    with ExitStack() as held:
        for _ in range(PAGES_A_PERSON):
            assert not places.complaint("ann")
            held.enter_context(places.hold("ann"))

        assert places.complaint("ann") == f"you have {PAGES_A_PERSON} pages open already"
        assert not places.complaint("bob")
        for number in range(MOST_PAGES - PAGES_A_PERSON):
            held.enter_context(places.hold(str(number)))
        assert places.complaint("bob") == f"{MOST_PAGES} pages are open already"
    assert not places.complaint("ann")


@pytest.mark.parametrize(("people", "who"), [(People(), "10.0.0.1"), (People(header="x-person"), "ann")])
async def test_live_page_has_its_place_before_it_opens(tmp_path: Path, people: People, who: str) -> None:
    """A person's, or that of an address where persons are not told apart."""
    async with opened(tmp_path, people) as desk:
        scope = {"type": "http", "method": "GET", "path": "/live", "headers": [], "query_string": b"page=overview"}
        request = Request(scope | {"client": ("10.0.0.1", 1), "state": {"person": Person("ann", "admin")}})
        reached = []

        async def send(message: Any) -> None:
            reached.append(desk.console.places.complaint(who))
            raise ConnectionError

        with ExitStack() as held:
            for _ in range(PAGES_A_PERSON - 1):
                held.enter_context(desk.console.places.hold(who))
            answer = await desk.console.live(request)
            with suppress(Exception):
                await answer(request.scope, asyncio.Event().wait, send)
            assert not desk.console.places.complaint(who)

    assert reached == [f"you have {PAGES_A_PERSON} pages open already"]


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {}, {"Content-Length": str(10**9)}])
async def test_form_that_is_refused_is_not_read(tmp_path: Path, headers: dict[str, str]) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b"token=x"

    async with opened(tmp_path, allow_actions=True) as desk:
        form = {"Origin": ORIGIN, "Content-Type": "application/x-www-form-urlencoded"}
        answer = await desk.client.post("/act", content=body(), headers=form | headers)

    assert (answer.status_code, read) == (403, 0)


async def test_form_of_too_many_fields_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, allow_actions=True) as desk:
        fields = "&".join(f"a{number}=" for number in range(3000))
        form = {"Origin": ORIGIN, "Content-Type": "application/x-www-form-urlencoded"}
        answer = await desk.client.post("/act", content=fields, headers=form)

    assert answer.status_code == 400


def spliced(lines: Sequence[str], splices: Sequence[Splice]) -> list[str]:
    """As the script in a browser does it."""
    made = list(lines)
    for begin, length, put in splices:
        made[begin : begin + length] = put
    return made


async def test_workers_page_shows_what_the_longest_work_reports(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        await Queue(desk.storage).register(Paid, "ann")
        coordinator = RuntimeCoordinator()
        coordinator.attach(desk.storage)
        (batch,) = (await coordinator.bind(SHARD, BindRequest("pod-1/x", 1, 1, 15.0))).batches
        await coordinator.renew([batch.lease], 15.0, reports={batch.lease: Report(batch.first, 70, 90, "rows <b>")})
        await desk.console.reader.round()
        page = (await desk.client.get("/workers")).text

    assert "pod-1" in page
    assert "ann: 70 of 90: rows &lt;b&gt;" in page


@pytest.mark.parametrize(
    ("role", "statuses"), [("viewer", [403, 403]), ("operator", [303, 400]), ("admin", [303, 303])]
)
async def test_operator_moves_a_delayed_request_and_an_admin_edits_a_schedule(
    tmp_path: Path, role: Role, statuses: list[int]
) -> None:
    async with opened(tmp_path, People(header="X-User", default=role), allow_actions=True) as desk:
        desk.client.headers["X-User"] = "ann"
        queue = Queue(desk.storage)
        (receipt,) = await queue.register(Paid, "ann", delay_seconds=600)
        await queue.schedule(Paid, "ann", name="daily", every_seconds=600)
        await desk.console.reader.round()
        token = await desk.token(**PAUSE)
        at = f"{datetime.now(UTC) + timedelta(hours=5):%Y-%m-%dT%H:%M:%SZ}"
        delayed = {"handler": HANDLER, "numbers": f"0:{receipt.sequence}", "at": at}
        schedule = {"handler": HANDLER, "schedule": "daily", "timing": "every 60 s"}
        found = [await desk.act(token, action="move-delayed", **delayed)]
        found.append(await desk.act(token, action="edit-schedule", **schedule))
        (moved,) = await desk.storage.delayed(SHARD)
        (edited,) = await desk.storage.schedules(SHARD)

    assert found == statuses
    assert (instant(moved.due_ms) == at, edited.timing == "every 60 s") == tuple(status == 303 for status in statuses)


def test_secret_fits_its_own_hash_only() -> None:
    digest = digest_of("secret")

    assert fits("secret", digest)
    assert not fits("Secret", digest)
    assert digest != digest_of("secret")


def test_file_of_users_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("# who may look\nann viewer\n")
    users = UserFile(file)
    file.write_text("ann admin\nbob operator\n")

    assert users.users() == {"ann": User("admin"), "bob": User("operator")}


@pytest.mark.parametrize("line", ["ann", "ann boss", "ann viewer hash", "ann viewer scrypt:00:00", "a viewer b c"])
def test_line_that_is_no_user_is_named(line: str) -> None:
    with pytest.raises(ValueError, match=r"line 2 of users must be NAME ROLE HASH"):
        users_in(f"\n{line}\n", "users")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Basic YW5uOnM6dA==", ("ann", "s:t")),
        ("bearer ann:s", ("ann", "s")),
        ("Basic %%%", None),
        ("Bearer token", None),
        ("", None),
    ],
)
def test_credentials_of_a_header(header: str, found: tuple[str, str] | None) -> None:
    assert credentials(header) == found
