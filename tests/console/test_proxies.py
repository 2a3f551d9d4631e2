"""Who is believed when a request says for whom it comes, and how."""

from pathlib import Path

import pytest
from starlette.datastructures import Headers
from starlette.requests import Request

from sharded_queue.errors import SettingsError
from sharded_queue.web.app import Options
from sharded_queue.web.command import warn
from sharded_queue.web.csrf import COOKIE, HOST_COOKIE
from sharded_queue.web.headers import client_address
from sharded_queue.web.people import People
from sharded_queue.web.proxies import Proxied, Proxies, is_encrypted
from tests.console.test_application import PAUSE, opened

HTTPX = "127.0.0.1"
"""Where the client of these tests comes from."""
ALICE = {"x-person": "alice"}


async def test_person_is_believed_from_a_trusted_proxy_alone(tmp_path: Path) -> None:
    for trusted, status in ((HTTPX, 200), ("127.0.0.0/8", 200), ("10.0.0.7", 401)):
        async with opened(tmp_path, People(header="x-person"), proxies=Proxies(trusted)) as desk:
            assert (await desk.client.get("/", headers=ALICE)).status_code == status


async def test_two_names_of_a_person_are_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, People(header="x-person"), proxies=Proxies(HTTPX)) as desk:
        twice = [("x-person", "alice"), ("X-Person", "mallory")]

        assert (await desk.client.get("/", headers=twice)).status_code == 400


@pytest.mark.parametrize("header", [{"x-forwarded-proto": "https"}, {"forwarded": "for=1.2.3.4;proto=https"}])
async def test_scheme_is_believed_from_a_trusted_proxy_alone(tmp_path: Path, header: dict[str, str]) -> None:
    for trusted, name in ((HTTPX, HOST_COOKIE), ("10.0.0.7", COOKIE)):
        async with opened(tmp_path, allow_actions=True, proxies=Proxies(trusted)) as desk:
            assert desk.console.link
            desk.console.link.offer()
            opened_link = await desk.client.get("/", params={"token": desk.links[-1]}, headers=header)
            session = opened_link.headers["set-cookie"]
            sent = {"cookie": session.partition(";")[0]}
            form = (await desk.client.get("/confirm", params=PAUSE, headers=header | sent)).headers["set-cookie"]

            assert (session.startswith(f"{name}-="), form.startswith(f"{name}=")) == (True, True)
            for given in (session, form):
                assert ("secure" in given.lower().split("; ")) == (trusted == HTTPX)
                assert "Path=/" in given
                assert "domain" not in given.lower()


@pytest.mark.parametrize(
    ("headers", "is_so"),
    [
        ({"x-forwarded-proto": "https", "forwarded": "proto=http"}, False),
        ({"x-forwarded-proto": "https, http"}, False),
        ({"forwarded": 'For="[2001:db8::1]:80";Proto="https", for=1.2.3.4;proto=https'}, True),
        ({}, False),
    ],
)
def test_all_that_is_said_of_the_scheme_must_be_https(headers: dict[str, str], is_so: bool) -> None:
    assert is_encrypted(Headers(headers)) == is_so


@pytest.mark.parametrize(
    ("trusted", "headers", "found"),
    [
        (["10.0.0.7"], {"x-forwarded-for": "6.6.6.6, 1.2.3.4"}, "1.2.3.4"),
        (["10.0.0.0/8"], {"x-forwarded-for": "6.6.6.6, 1.2.3.4, 10.0.0.8"}, "1.2.3.4"),
        (["10.0.0.7"], {"x-forwarded-for": "1.2.3.4, nonsense"}, "10.0.0.7"),
        (["10.0.0.7"], {"forwarded": 'for=6.6.6.6, for="[2001:db8::1]:80"'}, "2001:db8::1"),
        (["10.0.0.7"], {"x-forwarded-for": "1.2.3.4", "forwarded": "for=6.6.6.6"}, "10.0.0.7"),
        (["0.0.0.0/0"], {"x-forwarded-for": "6.6.6.6, 1.2.3.4"}, "1.2.3.4"),
        (["10.0.0.8"], {"x-forwarded-for": "1.2.3.4"}, "10.0.0.7"),
        ([], {"x-forwarded-for": "1.2.3.4"}, "10.0.0.7"),
    ],
)
async def test_client_is_the_last_address_that_a_trusted_proxy_names(
    trusted: list[str], headers: dict[str, str], found: str
) -> None:
    seen = []

    async def application(scope: object, receive: object, send: object) -> None:
        seen.append(client_address(Request(scope)))  # type: ignore[arg-type]

    raw = Headers(headers).raw
    scope = {"type": "http", "scheme": "http", "headers": raw, "client": ("::ffff:10.0.0.7", 5)}
    await Proxied(application, Proxies(*trusted), None)(scope, None, None)

    assert seen == [found if trusted and trusted != ["10.0.0.8"] else "::ffff:10.0.0.7"]


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.7/8", ""])
def test_trusted_proxy_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is an address or a network"):
        Proxies(text)


@pytest.mark.parametrize(
    ("address", "options", "sentences"),
    [
        ("0.0.0.0", Options(), ["whoever reaches 0.0.0.0 sees everything"]),
        ("127.0.0.1", Options(), []),
        ("::", Options(people=People(header="X-User"), proxies=Proxies("10.0.0.7")), []),
        (
            "::",
            Options(people=People(header="X-User"), proxies=Proxies("::/0")),
            ["whoever reaches :: is the person that the header X-User names"],
        ),
    ],
)
def test_console_warns_at_its_start_of_who_can_look(
    address: str, options: Options, sentences: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    warn(address, options)

    assert len(caplog.records) == len(sentences)
    assert all(record.getMessage().startswith(text) for record, text in zip(caplog.records, sentences, strict=True))
