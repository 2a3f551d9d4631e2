"""Who may look and act: who tries in vain leaves a trace and keeps nobody out, and who is removed sees no more."""

import asyncio
import base64
import json
import logging
import stat
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from sharded_queue.errors import SettingsError
from sharded_queue.monitoring.bounds import LINES_SECONDS
from sharded_queue.web import auth, people
from sharded_queue.web.audit import Audit, AuditLost
from sharded_queue.web.csrf import COOKIE
from sharded_queue.web.people import MOST_CHECKS, MOST_OF_ADDRESS, MOST_OF_PAIR, People, UserFile, digest_of
from sharded_queue.web.proxies import Proxies
from sharded_queue.web.refusals import LINES, LINES_EACH, FewLines
from tests.console.test_application import ORIGIN, PAUSE, Desk, is_paused, opened

A, B = "10.0.0.1", "10.0.0.2"
SECONDS = 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    file.write_text("".join(f"{name} admin {digest_of('right')}\n" for name in ("ann", "bob")))
    return file


@asynccontextmanager
async def coming_from(desk: Desk, address: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(desk.client._transport.app, client=(address, 1))  # type: ignore[attr-defined]
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        yield client


def as_of(name: str, secret: str = "right") -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"}


async def ask(desk: Desk, address: str, name: str, secret: str = "right", path: str = "/static/icon.svg") -> int:
    async with coming_from(desk, address) as client, asyncio.timeout(SECONDS):
        return (await client.get(path, headers=as_of(name, secret))).status_code


class Held:
    """Comparisons of secrets that wait until they may go on."""

    def __init__(self) -> None:
        self.may_go, self.compared = threading.Event(), list[str]()

    def fits(self, secret: str, digest: str, fits=people.fits) -> bool:  # type: ignore[no-untyped-def]
        self.compared.append(secret)
        assert self.may_go.wait(SECONDS)
        return fits(secret, digest)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held()
    monkeypatch.setattr(people, "fits", held.fits)
    yield held
    held.may_go.set()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - the console tells nobody
            await asyncio.sleep(0)


async def until_it_waits(desk: Desk, number: int) -> None:
    await until(lambda: len(desk.console.options.people.checks) >= number)


async def test_flood_on_a_name_keeps_neither_that_person_elsewhere_nor_others_there_out(
    tmp_path: Path, file: Path, held: Held
) -> None:
    async with opened(tmp_path, People(UserFile(file))) as desk:
        flood = [asyncio.create_task(ask(desk, A, "ann", f"wrong {number}")) for number in range(300)]
        await until_it_waits(desk, MOST_OF_PAIR)
        others = [asyncio.create_task(ask(desk, B, "ann")), asyncio.create_task(ask(desk, A, "bob"))]
        await until_it_waits(desk, MOST_OF_PAIR + 2)
        held.may_go.set()

        assert await asyncio.gather(*others) == [200, 200]
        assert Counter(await asyncio.gather(*flood)) == {401: MOST_OF_PAIR, 429: 300 - MOST_OF_PAIR}
        assert sorted(held.compared[:3]) == ["right", "right", "wrong 0"], "the others waited behind the flood"


async def test_address_that_tries_many_names_leaves_room_for_others(tmp_path: Path, file: Path, held: Held) -> None:
    async with opened(tmp_path, People(UserFile(file))) as desk:
        flood = [asyncio.create_task(ask(desk, A, f"name{number}", "wrong")) for number in range(300)]
        await until_it_waits(desk, MOST_OF_ADDRESS)
        ann = asyncio.create_task(ask(desk, B, "ann"))
        await until_it_waits(desk, MOST_OF_ADDRESS + 1)
        held.may_go.set()

        assert await ann == 200
        assert Counter(await asyncio.gather(*flood))[429] == 300 - MOST_OF_ADDRESS


async def test_person_who_is_signed_in_waits_for_nobody(tmp_path: Path, file: Path, held: Held) -> None:
    async with opened(tmp_path, People(UserFile(file))) as desk:
        held.may_go.set()
        assert await ask(desk, A, "ann") == 200
        held.may_go.clear()
        names = [(f"10.1.0.{number}", f"name{number}") for number in range(MOST_CHECKS + 50)]
        flood = [asyncio.create_task(ask(desk, address, name, "wrong")) for address, name in names]
        await until_it_waits(desk, MOST_CHECKS)

        assert await ask(desk, A, "ann") == 200
        held.may_go.set()
        assert Counter(await asyncio.gather(*flood)) == {401: MOST_CHECKS, 429: 50}


async def test_secret_that_a_browser_sends_many_times_at_once_is_compared_once(
    tmp_path: Path, file: Path, held: Held
) -> None:
    async with opened(tmp_path, People(UserFile(file))) as desk:
        pages = [asyncio.create_task(ask(desk, A, "ann")) for _ in range(20)]
        await until_it_waits(desk, 1)
        held.may_go.set()

        assert await asyncio.gather(*pages) == [200] * 20
        assert held.compared == ["right"]


async def test_refused_sign_ins_have_few_lines_and_all_are_counted(
    tmp_path: Path, file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "COST", 2)  # all secrets are wrong, soon
    async with opened(tmp_path, People(UserFile(file))) as desk:
        for number in range(200):
            await ask(desk, A, "ann", f"wrong {number}")
        await ask(desk, B, "mall\nory", "wrong")
        async with coming_from(desk, B) as client:
            assert (await client.get("/")).status_code == 401
        lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        metrics = (await desk.client.get("/metrics", headers={"Host": "10.1.2.3"})).text

    assert lines[0] == "sign-in of 'ann' from 10.0.0.1 refused: wrong secret"
    assert len(lines) == LINES_EACH + 1
    assert lines[-1] == (
        "sign-in of 'mall\\nory' from 10.0.0.2 refused: no such user; 190 other refused sign-ins have no line"
    )
    assert 'sharded_queue_console_refused_sign_ins_total{reason="wrong_secret"} 200.0' in metrics
    assert 'sharded_queue_console_refused_sign_ins_total{reason="no_such_user"} 1.0' in metrics


def test_lines_are_few_of_each_and_of_all_in_a_minute() -> None:
    clock = [0.0]
    lines = FewLines(lambda: clock[0])
    of_one = [lines.take(A) for _ in range(100)]
    of_many = [lines.take(str(number)) for number in range(100)]
    clock[0] = LINES_SECONDS

    assert of_one == [0] * LINES_EACH + [None] * (100 - LINES_EACH)
    assert sum(each is not None for each in of_many) == LINES - LINES_EACH
    assert of_many[0] == 100 - LINES_EACH
    assert lines.take(A) == 100 - (LINES - LINES_EACH)


async def test_refused_actions_are_in_the_audit_log_with_name_address_and_reason(tmp_path: Path) -> None:
    async with opened(tmp_path, People(header="x-person"), allow_actions=True, proxies=Proxies(A)) as desk:
        async with coming_from(desk, A) as client:
            client.headers["x-person"], client.headers["origin"] = "victor", ORIGIN
            client.cookies.set(COOKIE, "s")
            token = desk.console.tokens._token("s", "victor")
            drop = {"action": "drop-letters", "handler": "shop.Paid", "all": "yes"}
            assert (await client.get("/confirm", params=drop)).status_code == 400
            for _ in range(100):
                assert (await client.post("/act", data={"token": "é", **drop})).status_code == 403
            assert (await client.post("/act", data={"token": token, **drop})).status_code == 400
        metrics = (await desk.client.get("/metrics")).text
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]

    about = {"person": "victor", "role": "viewer", "address": A, "handler": "shop.Paid", "all": "yes"}
    forbidden = "Refused: this takes the role admin, and victor is viewer"
    assert lines[0] | {"time": ""} == {"time": "", "audit": "drop-letters", **about, "result": forbidden}
    assert lines[1]["result"].startswith("Refused: This form is too old")
    assert len(lines) == LINES_EACH
    assert 'sharded_queue_console_refused_actions_total{reason="forged"} 100.0' in metrics
    assert 'sharded_queue_console_refused_actions_total{reason="forbidden"} 2.0' in metrics


def rewrite(file: Path, line: str) -> None:
    same = file.read_text().split()[2]
    file.write_text(line.format(same=same, other=digest_of("new")) + "\n")


async def test_token_of_another_person_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, People(header="x-person", default="admin"), allow_actions=True) as desk:
        desk.client.headers["x-person"] = "ann"
        token = await desk.token(**PAUSE)
        desk.client.headers["x-person"] = "bob"

        assert await desk.act(token, **PAUSE) == 403
        assert not await is_paused(desk)


@pytest.mark.parametrize("change", ["bob admin", "ann viewer {same}", "ann admin {other}"])
async def test_live_page_ends_with_the_right_to_see_it(
    tmp_path: Path, file: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "KNOWN_SECONDS", 0.01)
    async with opened(tmp_path, People(UserFile(file))) as desk:
        page = asyncio.create_task(ask(desk, A, "ann", path="/live?page=overview"))
        await until(lambda: bool(desk.console.channels.by_key))
        rewrite(file, change)

        assert await page == 200
        assert not desk.console.channels.by_key


def test_users_stay_as_they_were_while_their_file_cannot_be_read(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    users, good = UserFile(file), file.read_text()
    known = users.users()
    for broken in ("ann boss\n", None, "\udcff"):
        file.unlink() if broken is None else file.write_bytes(broken.encode(errors="surrogateescape"))
        assert [users.users(), users.users()] == [known, known]
        assert users.fault
    file.write_text(good + "eve viewer\n")

    assert "eve" in users.users()
    assert not users.fault
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 3
    assert all(line.endswith("; the users that it had before stay") for line in lines)
    with pytest.raises(SettingsError):
        UserFile(file.parent / "nowhere")


async def test_action_without_an_audit_log_is_not_begun_and_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path, allow_actions=True) as desk:
        token = await desk.token(**PAUSE)
        desk.console.options.audit.file = Path("/dev/full")
        await desk.act(token, **PAUSE)
        page = (await desk.client.get("/job?id=1")).text

        assert not await is_paused(desk)
    assert "Not done: the audit log /dev/full cannot be written: No space left on device" in page


def test_audit_log_is_its_owners_and_is_opened_at_the_start(tmp_path: Path) -> None:
    Audit(tmp_path / "audit")

    assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) == 0o600
    with pytest.raises(AuditLost, match="cannot be written: No such file or directory"):
        Audit(tmp_path / "nowhere" / "audit")
