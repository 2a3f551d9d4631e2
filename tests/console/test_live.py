"""A page that changes under a person's hands: ticks, focus and what is open stay with what they belonged to."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from sharded_queue.storage import Cause, Waiting
from sharded_queue.tube import Shard
from tests.console.shop import Charge, Mail
from tests.console.stage import MODULE, Stage, Window, stored

pytestmark = pytest.mark.redis

PATIENCE = 15_000
"""Milliseconds until a page shows what is new."""

CHARGE, MAIL = Shard(Charge.name), Shard(Mail.name)
REMOVAL = Cause("ann", "by mistake")


@pytest.fixture(scope="module")
def address(stage: Stage) -> str:
    """A console for everybody on this machine, over requests that no worker takes."""
    customers = [number % 3 for number in range(12)]
    stage.register(Charge, *[{"order": order, "customer": customer} for order, customer in enumerate(customers)])
    for hours in (1, 2, 3):
        stage.register(Charge, {"order": hours, "customer": 1}, delay_seconds=3600 * hours)
    die(stage, "first")
    return stage.console("--module", MODULE, "--allow-actions")


def die(stage: Stage, thread: str) -> None:
    """One more dead letter."""
    stage.register(Mail, {"to": thread, "text": ""})
    stored(stage, lambda storage: storage.drop(MAIL, thread, REMOVAL))


def letters(page: Page) -> Any:
    return page.get_by_role("article", name="Dead letter")


def ticked(page: Page) -> list[str]:
    values: list[str] = page.locator("input:checked").evaluate_all("boxes => boxes.map(box => box.value)")
    return values


def tick(page: Page, index: int) -> list[str]:
    page.get_by_role("checkbox").nth(index).check()
    values = ticked(page)
    assert len(values) == 1
    return values


def test_tick_stays_on_its_letter_when_a_newer_one_comes(
    address: str, stage: Stage, window: Callable[..., Window]
) -> None:
    page = window().follow(f"{address}dead?handler=shop.Mail")
    before, values = letters(page).count(), tick(page, 0)
    die(stage, "newer")

    expect(letters(page)).to_have_count(before + 1, timeout=PATIENCE)
    assert ticked(page) == values
    page.get_by_role("button", name="Replay to the tail").click()
    assert page.locator("input[name=numbers]").input_value() == values[0]


def test_tick_stays_on_its_request_when_those_before_it_go(
    address: str, stage: Stage, window: Callable[..., Window]
) -> None:
    page = window().follow(f"{address}thread?handler=shop.Charge&thread=1")
    boxes = page.get_by_role("checkbox")
    before, values = boxes.count(), tick(page, 2)
    priority, sequence, digest = boxes.first.input_value().split(":")
    first = Waiting(int(priority), int(sequence), digest)
    stored(stage, lambda storage: storage.drop(CHARGE, "1", REMOVAL, [first]))

    expect(boxes).to_have_count(before - 1, timeout=PATIENCE)
    assert ticked(page) == values


def test_tick_outlasts_what_comes_and_goes_above_it(address: str, stage: Stage, window: Callable[..., Window]) -> None:
    page = window().follow(f"{address}thread?handler=shop.Charge&thread=2")
    values = tick(page, 1)
    stage.redis.pause()
    try:
        expect(page.get_by_role("alert")).to_contain_text("Nothing was read of Redis since", timeout=PATIENCE)
        assert ticked(page) == values
    finally:
        stage.redis.resume()

    expect(page.get_by_role("alert")).to_have_count(0, timeout=PATIENCE)
    assert ticked(page) == values


def test_tick_stays_on_its_delayed_request_when_the_next_one_goes(
    address: str, stage: Stage, window: Callable[..., Window]
) -> None:
    page = window().follow(f"{address}later?handler=shop.Charge")
    boxes = page.get_by_role("checkbox")
    before, values = boxes.count(), tick(page, 1)
    number = int(boxes.first.input_value().partition(":")[2])
    stored(stage, lambda storage: storage.cancel(CHARGE, [number]))

    expect(boxes).to_have_count(before - 1, timeout=PATIENCE)
    assert ticked(page) == values


def test_focus_stays_on_its_thread_when_rows_move(address: str, stage: Stage, window: Callable[..., Window]) -> None:
    page = window().follow(f"{address}handler?handler=shop.Charge")
    threads = page.locator("tbody th").get_by_role("link")
    expect(threads).to_have_text(["0", "1", "2"])
    threads.nth(1).focus()
    stored(stage, lambda storage: storage.drop(CHARGE, "0", REMOVAL))

    expect(threads).to_have_text(["1", "2"], timeout=PATIENCE)
    expect(threads.first).to_be_focused()


SHARED = """
    () => {
        const kind = (node) => [node.nodeName, node.dataset.key, node.id, node.classList[0]].join(" ");
        const live = document.getElementById("live");
        const shared = [];
        for (const each of live.querySelectorAll("input[type=checkbox], details"))
            for (let node = each; node !== live; node = node.parentElement)
                for (const other of node.parentElement.children)
                    if (other !== node && kind(other) === kind(node)) shared.push(`${each.outerHTML}: ${kind(node)}`);
        return shared;
    }
"""
"""Things of a person's that another thing could take over, since something around them has no key of its own."""


def test_whatever_can_be_ticked_or_opened_has_a_key(address: str, stage: Stage, window: Callable[..., Window]) -> None:
    die(stage, "one")
    die(stage, "two")
    page = window().page
    for path in ("dead?handler=shop.Mail", "later?handler=shop.Charge", "thread?handler=shop.Charge&thread=2"):
        page.goto(f"{address}{path}")
        assert page.get_by_role("checkbox").count() > 1
        assert page.evaluate(SHARED) == []


def test_click_counts_though_the_page_changes_in_the_middle_of_it(
    address: str, stage: Stage, window: Callable[..., Window]
) -> None:
    """A sentence comes above the button while it is pressed."""
    page, other = (window().follow(f"{address}handler?handler=shop.Charge") for _ in range(2))
    page.get_by_role("link", name="Pause").hover()
    page.mouse.down()
    stored(stage, lambda storage: storage.pause(CHARGE, "0", True))
    try:
        expect(other.locator("main")).to_contain_text("1 thread of shop.Charge is paused", timeout=PATIENCE)
        page.mouse.up()
        expect(page).to_have_url(re.compile(r"/confirm\?"), timeout=PATIENCE)
    finally:
        stored(stage, lambda storage: storage.pause(CHARGE, "0", False))


def test_page_goes_on_when_a_pointer_is_released(address: str, stage: Stage, window: Callable[..., Window]) -> None:
    page, other = (window().follow(f"{address}handler?handler=shop.Charge") for _ in range(2))
    page.locator("h2").first.hover()
    page.mouse.down()
    stored(stage, lambda storage: storage.pause(CHARGE, "0", True))
    try:
        said = "1 thread of shop.Charge is paused"
        expect(other.locator("main")).to_contain_text(said, timeout=PATIENCE)
        expect(page.locator("main")).not_to_contain_text(said)
        page.mouse.up()
        expect(page.locator("main")).to_contain_text(said, timeout=1_000)
    finally:
        stored(stage, lambda storage: storage.pause(CHARGE, "0", False))
