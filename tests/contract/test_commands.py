"""The commands that read and control a queue, as a person types them, on a real Redis."""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result
from redis.asyncio import Redis
from starlette.datastructures import QueryParams

from sharded_queue import RedisStorage, StorageUnavailable, letters, steps
from sharded_queue.admin import answers
from sharded_queue.admin.bodies import Bodies
from sharded_queue.admin.handlers import Named
from sharded_queue.admin.words import LISTED
from sharded_queue.backends.redis.coordinator import RedisCoordinator
from sharded_queue.cli import acts as act_commands
from sharded_queue.cli.program import main
from sharded_queue.coordinator import BindRequest
from sharded_queue.settings import settings
from sharded_queue.state import About, Report
from sharded_queue.storage import Cause, Entry, Failure, Registration, Schedule
from sharded_queue.timing import every
from sharded_queue.tube import Layout, Shard
from sharded_queue.web.details import Details
from sharded_queue.web.history import History
from sharded_queue.web.jobs import Jobs
from sharded_queue.web.pages import HandlerPage, Seen
from sharded_queue.web.world import WatchedHandler, World
from tools.redis_server import Ask

pytestmark = pytest.mark.redis

SHARD = Shard("shop.Charge")


def typed(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def register(ask: Ask, thread: str, *bodies: bytes) -> None:
    ask(lambda redis: RedisStorage(redis).register(SHARD, Registration([Entry(thread, 0, list(bodies))])))


def die(ask: Ask) -> None:
    """The first request of the next thread goes to the dead letters."""

    async def died(redis: Redis) -> None:
        storage, coordinator = RedisStorage(redis), RedisCoordinator(redis)
        coordinator.attach(storage)
        (batch,) = (await coordinator.bind(SHARD, BindRequest("w/1", 1, 1, 15.0))).batches
        where = 'Traceback (most recent call last):\n  File "shop.py", line 7, in charge\nValueError: declined'
        await storage.fail(Failure(batch.lease, 0, batch.first, 1, "ValueError: declined", traceback=where))
        await coordinator.release([batch.lease])

    ask(died)


def test_explain_says_what_a_thread_waits_for(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]")
    said = typed("explain", "shop.Charge", "7")

    assert said.exit_code == 0, said.output
    assert said.output.startswith("thread 7 is ready: it waits for a worker, and none is before it")
    assert "priority 0: 2 requests" in said.output


def test_a_paused_thread_is_explained_and_resumed(ask: Ask) -> None:
    register(ask, "7", b"[1]")

    assert typed("pause", "shop.Charge", "7").output == "thread 7 of shop.Charge is paused\n"
    assert "thread 7 is paused" in typed("explain", "shop.Charge", "7").output
    assert typed("resume", "shop.Charge", "7").output == "thread 7 of shop.Charge is resumed\n"
    assert typed("resume", "shop.Charge", "7").output == "thread 7 of shop.Charge was not paused\n"


def test_a_pause_may_be_given_an_end(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    planned = typed("pause", "shop.Charge", "7", "--for", "1h30m", "--dry-run").output
    paused = typed("pause", "shop.Charge", "7", "--for", "1h30m", "--by", "anna", "--reason", "the bank is down").output
    (listed,) = [json.loads(line) for line in typed("paused", "shop.Charge", "--json").output.splitlines()]
    lasts = datetime.fromisoformat(listed["until"]) - datetime.fromisoformat(listed["paused_at"])
    until = listed["until"][:19] + "Z"

    assert "then stands still for 1 h 30 min; 1 request wait" in planned
    assert paused == "thread 7 of shop.Charge is paused for 1 h 30 min\n"
    assert lasts == timedelta(hours=1.5)
    assert f" until {until} by anna: the bank is down" in typed("paused", "shop.Charge").output
    assert f" until {until} by anna: the bank is down; `sh" in typed("explain", "shop.Charge", "7").output
    again = typed("pause", "shop.Charge", "7", "--for", "90s").output
    assert again == "thread 7 of shop.Charge was paused already, now for 1 min 30 s\n"


@pytest.mark.parametrize(
    ("lasts", "words"),
    [
        ("soon", "'soon' is no length of time: write it as 90s, 30m, 2h or 1d12h"),
        ("", "'' is no length of time"),
        ("90", "'90' is no length of time"),
        ("30m2h", "'30m2h' is no length of time"),
        ("0s", "a pause cannot last 0 s: it lasts from 1 s to 365 days"),
        ("366d", "a pause cannot last 31,622,400 s"),
        ("-5m", "'-5m' is no length of time"),
    ],
)
def test_a_pause_cannot_last_any_time(ask: Ask, lasts: str, words: str) -> None:
    register(ask, "7", b"[1]")
    refused = typed("pause", "shop.Charge", "7", f"--for={lasts}")

    assert refused.exit_code != 0
    assert words in refused.output
    assert typed("paused", "shop.Charge").output == "nothing is paused\n"


def test_a_paused_handler_is_explained(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    typed("pause", "shop.Charge")

    assert "paused with its whole handler" in typed("explain", "shop.Charge", "7").output


def test_dead_letters_are_listed_and_replayed_to_the_head(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]")
    die(ask)

    assert "ValueError: declined" in typed("dead", "list", "shop.Charge").output
    assert "line 7" not in typed("dead", "list", "shop.Charge").output
    assert '\n  File "shop.py", line 7, in charge\n' in typed("dead", "list", "shop.Charge", "--traceback").output
    assert typed("dead", "replay", "shop.Charge", "1", "--head").output.startswith(
        "1 dead letter of shop.Charge is back"
    )
    requests = typed("peek", "shop.Charge", "7", "--json").output.splitlines()
    assert [json.loads(line)["request"] for line in requests] == [[1], [2]]


def test_dead_letters_are_listed_in_the_order_of_their_numbers(ask: Ask) -> None:
    register(ask, "7", *[b"[%d]" % number for number in range(12)])
    typed("drop", "shop.Charge", "7", "--all", "--reason", "closed", "--yes")
    listed = typed("dead", "list", "shop.Charge", "--json").output.splitlines()
    newest = typed("dead", "list", "shop.Charge", "--json", "--count", "2").output.splitlines()

    assert [json.loads(line)["number"] for line in listed] == list(range(1, 13))
    assert [json.loads(line)["number"] for line in newest] == [11, 12]


def test_dead_letters_are_listed_by_what_they_have_in_them(ask: Ask) -> None:
    """What `dead replay --all` would find, to look at before."""
    register(ask, "7", b'["anna"]', b'["otto"]', b'["anna"]')
    register(ask, "8", b'["anna"]')
    typed("drop", "shop.Charge", "7", "--all", "--reason", "closed", "--yes")
    typed("drop", "shop.Charge", "8", "--all", "--reason", "moved", "--yes")

    def numbers(*words: str) -> list[int]:
        listed = typed("dead", "list", "shop.Charge", "--json", *words).output.splitlines()
        return [json.loads(line)["number"] for line in listed]

    assert numbers("--text", "ANNA") == [1, 3, 4]
    assert numbers("--text", "anna", "--count", "2") == [3, 4]
    assert numbers("--text", "anna", "--of-thread", "7") == [1, 3]
    assert numbers("--error", "moved") == [4]
    nothing = typed("dead", "list", "shop.Charge", "--error", "sold")
    assert nothing.output == "shop.Charge has no dead letters with the error 'sold'\n"


def test_a_dead_letter_of_several_shards_is_listed_as_it_is_replayed(ask: Ask) -> None:
    shard = Shard("shop.Charge", 1, 2)

    async def drop(redis: Redis) -> None:
        await RedisStorage(redis).register(shard, Registration([Entry("7", 0, [b"[1]"])]))
        await RedisStorage(redis).drop(shard, "7", Cause("bob", "closed"))

    ask(drop)
    assert " 1:1  7/0 " in typed("dead", "list", "shop.Charge", "--shards", "2").output
    assert typed("dead", "replay", "shop.Charge", "--shards", "2", "1:1").exit_code == 0


def test_peek_reads_on(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]", b"[3]")
    pages = [typed("peek", "shop.Charge", "7", "--json", *words).output for words in (["--count", "1"], ["--all"])]
    first, *_ = (json.loads(line)["sequence"] for line in pages[0].splitlines())
    rest = typed("peek", "shop.Charge", "7", "--json", "--after", str(first)).output.splitlines()

    assert [json.loads(line)["request"] for line in rest] == [[2], [3]]
    assert [json.loads(line)["request"] for line in pages[1].splitlines()] == [[1], [2], [3]]
    assert typed("peek", "shop.Charge", "7", "--after", str(first + 2)).output == (
        f"nothing waits in thread 7 of shop.Charge behind request {first + 2}\n"
    )


def test_peek_shows_what_is_next_whatever_its_priority(ask: Ask) -> None:
    entries = [Entry("7", priority, [b"[%d]" % priority]) for priority in (5, 0, -1)]
    ask(lambda redis: RedisStorage(redis).register(SHARD, Registration(entries)))

    def peeked(*words: str) -> list[int]:
        lines = typed("peek", "shop.Charge", "7", *words, "--json").output.splitlines()
        return [json.loads(line)["priority"] for line in lines]

    assert peeked() == peeked("--all") == [-1, 0, 5]
    assert peeked("--count", "2") == [-1, 0]
    assert peeked("5") == [5]
    assert re.findall(r"^ +(-?\d) ", typed("peek", "shop.Charge", "7").output, re.MULTILINE) == ["-1", "0", "5"]


def kill_a_worker_of(ask: Ask, thread: str) -> None:
    """A worker holds the thread, and its lease has ended without renewal."""
    bind(ask)
    ask(lambda redis: redis.zadd("lock_{shop.Charge}:leases", {thread: 1_700_000_000_000}))


@pytest.mark.parametrize(
    "words",
    [
        ["tubes", "shop.charge"],
        ["lag", "shop.Charg"],
        ["explain", "shop.Charg", "7"],
        ["peek", "shop.Charg", "7"],
        ["pause", "shop.Charg"],
        ["pause", "shop.Charg", "7"],
        ["resume", "shop.Charg"],
        ["paused", "shop.Charg"],
        ["reshard", "shop.Charg", "4"],
        ["dead", "list", "shop.Charg"],
        ["dead", "replay", "shop.Charg", "1"],
        ["dead", "drop", "shop.Charg", "--all", "--reason", "why"],
        ["schedules", "list", "shop.Charg"],
        ["schedules", "remove", "shop.Charg", "x"],
        ["delayed", "list", "shop.Charg"],
        ["delayed", "cancel", "shop.Charg", "1"],
        ["delayed", "move", "shop.Charg", "1", "--in", "60"],
        ["schedules", "edit", "shop.Charg", "x", "--every", "60"],
        ["check", "shop.Charg"],
        ["check", "shop.Charg", "--repair"],
    ],
)
def test_a_handler_that_was_never_seen_is_refused_and_the_nearest_named(ask: Ask, words: list[str]) -> None:
    register(ask, "7", b"[1]")
    said = typed(*words)

    assert said.exit_code == 2
    assert "; did you mean 'shop.Charge'?" in said.stderr
    assert ask(lambda redis: redis.keys("*Charg}*")) == []


def test_the_number_of_shards_is_told_where_it_is_another(ask: Ask) -> None:
    ask(lambda redis: RedisStorage(redis).register(Shard("shop.Split", 3, 4), Registration([Entry("7", 0, [b"1"])])))
    said = typed("tubes", "shop.Split")

    assert (said.exit_code, "use --shards 4" in said.stderr) == (2, True)


@pytest.mark.parametrize("words", [["explain"], ["peek"], ["pause"], ["resume"]])
def test_a_thread_that_is_not_there_is_refused_and_the_nearest_named(ask: Ask, words: list[str]) -> None:
    register(ask, "customer-17", b"[1]")
    typed("pause", "shop.Charge", "customer-17")
    said = typed(*words, "shop.Charge", "custoner-17")

    assert said.exit_code == 2
    assert "did you mean 'customer-17'?" in said.stderr
    assert ask(lambda redis: redis.zscore("tube_{shop.Charge}:blocked", "custoner-17")) is None


def test_what_has_not_come_yet_is_paused_by_force(ask: Ask) -> None:
    assert typed("pause", "shop.New", "--force").output == "shop.New is paused\n"
    assert typed("pause", "shop.New", "7", "--force").output == "thread 7 of shop.New is paused\n"
    listed = typed("paused", "shop.New").output.splitlines()
    assert [line.partition(", since ")[0] for line in listed] == ["shop.New", "thread 7 of shop.New"]


def test_what_is_paused_is_seen_everywhere(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    register(ask, "8", b"[1]")
    typed("pause", "shop.Charge", "7")
    one = typed("tubes", "shop.Charge").output
    (as_json,) = json.loads(typed("tubes", "shop.Charge", "--json").output)
    typed("pause", "shop.Charge")
    both = typed("tubes", "--all").output
    (told,) = json.loads(typed("lag", "shop.Charge", "--json").output)

    assert "1 thread of shop.Charge is paused; `sharded-queue paused shop.Charge` lists them" in one
    assert (as_json["is_paused"], as_json["paused_threads"]) == (False, 1)
    assert [tube["state"] for tube in as_json["tubes"]] == ["ready", "paused"]
    assert "shop.Charge is paused; `sharded-queue resume shop.Charge` resumes it" in both
    assert (told["is_paused"], "paused with its whole handler" in told["why"]) == (True, True)
    listed = [json.loads(line) for line in typed("paused", "--all", "--json").output.splitlines()]
    assert [(each["handler"], each["thread"], each["act"]) for each in listed] == [
        ("shop.Charge", None, None),
        ("shop.Charge", "7", None),
    ]
    typed("resume", "shop.Charge")
    typed("resume", "shop.Charge", "7")
    assert typed("paused", "--all").output == "nothing is paused\n"


def test_the_thread_of_a_killed_worker_does_not_move(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    kill_a_worker_of(ask, "7")
    ask(lambda redis: redis.hset("tube_{shop.Charge}:counters", "polled", 1_700_000_000_000))
    told = json.loads(typed("explain", "shop.Charge", "7", "--json").output)
    words = typed("explain", "shop.Charge", "7").output
    (lagging,) = json.loads(typed("lag", "shop.Charge", "--json").output)
    (tubes,) = json.loads(typed("tubes", "shop.Charge", "--json").output)

    assert (told["state"], told["owner"], told["lease_seconds"] < 0) == ("ready", "worker-1/x", True)
    assert words.startswith("thread 7 is ready: the lease of worker-1/x ended ")
    assert "no worker serves its handler: the last one polled for its threads" in words
    assert (lagging["held_by"], "is bound" in lagging["why"]) == (None, False)
    assert (tubes["ready"], tubes["bound"], tubes["tubes"][0]["state"], tubes["tubes"][0]["held_by"]) == (
        1,
        0,
        "ready",
        None,
    )


def test_a_held_thread_says_what_is_in_hand_and_how_long_its_lease_lasts(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]")
    bind(ask)
    words = typed("explain", "shop.Charge", "7").output

    assert words.startswith("thread 7 is bound: worker-1/x holds it and has 1 request in its handler")
    assert "; its lease has 1" in words
    assert " s left\n" in words


def test_a_thread_in_work_says_that_it_is_paused(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]")
    bind(ask)
    words = []
    for what in (["7"], []):
        typed("pause", "shop.Charge", *what)
        words.append(typed("explain", "shop.Charge", "7").output.splitlines()[0])

    assert all(each.startswith("thread 7 is bound: worker-1/x holds it") for each in words)
    assert words[0].endswith("; it is paused, and stands still after this batch")
    assert words[1].endswith("; its handler is paused, and stands still after this batch")


def test_a_pause_says_that_the_batch_in_hand_ends_first(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]")
    bind(ask)

    assert typed("pause", "shop.Charge", "7").output == (
        "thread 7 of shop.Charge is paused; the batch that a worker has, of 1 request, ends first\n"
    )
    assert typed("pause", "shop.Charge").output == (
        "shop.Charge is paused; the batches that workers have, of 1 request, end first\n"
    )
    assert json.loads(typed("pause", "shop.Charge", "--json").output)["note"].endswith("end first")


def test_a_resumption_says_what_stays_paused(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    register(ask, "8", b"[1]")
    for words in (["7"], ["8"], []):
        typed("pause", "shop.Charge", *words)

    assert typed("resume", "shop.Charge", "7").output == (
        "thread 7 of shop.Charge is resumed; shop.Charge itself is paused\n"
    )
    assert typed("resume", "shop.Charge").output == "shop.Charge is resumed; 1 thread of it stays paused\n"
    assert typed("resume", "shop.Charge").output == "shop.Charge was not paused; 1 thread of it stays paused\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("drop shop.Charge 7 --all --reason why", "nothing to drop: no request of thread 7 of shop.Charge waits"),
        ("dead replay shop.Charge --all", "nothing to replay: 0 dead letters of shop.Charge"),
        ("dead replay shop.Charge --all --head", "nothing to replay: 0 dead letters of shop.Charge"),
        (
            "dead drop shop.Charge --all --error closed --reason why",
            "nothing to drop: 0 dead letters of shop.Charge with the error 'closed'",
        ),
        ("delayed cancel shop.Charge --all", "nothing to cancel: 0 delayed requests of shop.Charge"),
        ("delayed run shop.Charge --all", "nothing to run: 0 delayed requests of shop.Charge"),
        ("delayed move shop.Charge --all --in 60", "nothing to move: 0 delayed requests of shop.Charge"),
    ],
)
def test_an_act_that_finds_nothing_does_not_look_done(ask: Ask, words: str, said: str) -> None:
    register(ask, "8", b"[1]")
    typed("pause", "shop.Charge", "7", "--force")
    done = typed(*words.split())

    assert (done.exit_code, done.output) == (1, f"{said}\n")


def test_dead_letters_that_were_dropped_are_no_dead_letters(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    die(ask)
    (before,) = json.loads(typed("tubes", "shop.Charge", "--json").output)
    typed("dead", "drop", "shop.Charge", "--all", "--reason", "why", "--yes")
    (after,) = json.loads(typed("tubes", "shop.Charge", "--json").output)

    assert [(state["dead"], state["dead_ever"]) for state in (before, after)] == [(1, 1), (0, 1)]


def test_a_letter_that_is_not_there_is_named(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    die(ask)
    said = typed("dead", "replay", "shop.Charge", "1", "99")

    assert said.exit_code == 1
    assert said.output.splitlines() == [
        "1 dead letter of shop.Charge is back in the tubes",
        "99: no such dead letter",
    ]


def test_a_letter_whose_thread_is_held_is_named(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]")
    die(ask)
    bind(ask)
    said = typed("dead", "replay", "shop.Charge", "1", "--head")

    assert (said.exit_code, said.output.splitlines()[1]) == (1, "1: a worker holds its thread")


def test_letters_of_several_steps_are_replayed_to_the_head_in_their_order(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (letters, steps, act_commands):
        monkeypatch.setattr(module, "STEP_NUMBERS", 2)
    register(ask, "7", *(b"[%d]" % number for number in range(5)))
    typed("drop", "shop.Charge", "7", "--all", "--reason", "why", "--yes")
    said = typed("dead", "replay", "shop.Charge", "--all", "--head")

    assert said.output.splitlines() == [
        *("2 of 5 dead letters", "4 of 5 dead letters", "5 of 5 dead letters"),
        "5 dead letters of shop.Charge are back in the tubes",
    ]
    waiting = [json.loads(line) for line in typed("peek", "shop.Charge", "7", "--json").output.splitlines()]
    assert [each["request"] for each in waiting] == [[number] for number in range(5)]


def test_a_replay_that_is_cut_says_how_many_are_back_and_the_same_command_does_the_rest(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (letters, steps):
        monkeypatch.setattr(module, "STEP_NUMBERS", 2)
    register(ask, "7", *(b"[%d]" % number for number in range(3)))
    typed("drop", "shop.Charge", "7", "--all", "--reason", "why", "--yes")
    settle_dead = RedisStorage.settle_dead

    async def cut(*_: Any) -> list[int]:
        raise StorageUnavailable("no answer")

    async def settle_once(*arguments: Any) -> list[int]:
        monkeypatch.setattr(RedisStorage, "settle_dead", cut)
        return await settle_dead(*arguments)

    monkeypatch.setattr(RedisStorage, "settle_dead", settle_once)
    first = typed("dead", "replay", "shop.Charge", "--all", "--head")
    monkeypatch.setattr(RedisStorage, "settle_dead", settle_dead)
    paused = typed("paused", "shop.Charge").output
    explained = typed("explain", "shop.Charge", "7").output.splitlines()[0]
    second = typed("dead", "replay", "shop.Charge", "--all", "--head")

    assert "2 of 3 dead letters are done for certain, and asking again does the rest" in first.output
    assert paused == "thread 7 of shop.Charge: its dead letters are being put back at its head\n"
    assert explained.startswith("thread 7 is paused: its dead letters are being put back at its head;")
    assert second.output == "1 dead letter of shop.Charge is back in the tubes\n"
    assert typed("paused", "shop.Charge").output == "nothing is paused\n"


def test_delayed_requests_are_listed_and_cancelled(ask: Ask) -> None:
    bodies = [b"[1]", b'+{"from": "shop"}\n[2]']
    (first,), _ = ask(
        lambda redis: RedisStorage(redis).register(SHARD, Registration([Entry("7", 0, bodies)], delay_seconds=60))
    )
    listed = [json.loads(line) for line in typed("delayed", "list", "shop.Charge", "--json").output.splitlines()]
    table = typed("delayed", "list", "shop.Charge").output
    once, again = (typed("delayed", "cancel", "shop.Charge", str(first)) for _ in range(2))
    wrong = typed("delayed", "cancel", "shop.Charge", "99")

    assert [(each["number"], each["request"], each["headers"]) for each in listed] == [
        (first, [1], {}),
        (first + 1, [2], {"from": "shop"}),
    ]
    assert 0 < listed[0]["due_seconds"] <= 61
    assert "7/0" in table
    assert once.output == again.output == "1 delayed request of shop.Charge is cancelled\n"
    assert (wrong.exit_code, "99: it is not delayed" in wrong.output) == (1, True)
    assert typed("delayed", "cancel", "shop.Charge", "--all").output.startswith("1 delayed request")
    assert typed("delayed", "list", "shop.Charge").output == "shop.Charge has no delayed requests\n"


def test_explain_shows_the_last_failures(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]")
    die(ask)
    said = typed("explain", "shop.Charge", "7").output
    (past,) = json.loads(typed("explain", "shop.Charge", "7", "--json").output)["failures"]

    assert 'attempt 1 failed: ValueError: declined (File "shop.py", line 7, in charge)' in said
    assert (past["error"], past["attempt"]) == ("ValueError: declined", 1)
    assert past["traceback"].endswith("ValueError: declined")


async def reported(redis: Redis) -> None:
    """A worker binds a thread, and its handler reports how far it is."""
    coordinator = RedisCoordinator(redis)
    coordinator.attach(RedisStorage(redis))
    (batch,) = (await coordinator.bind(SHARD, BindRequest("worker-1/x", 1, 1, 15.0))).batches
    await coordinator.renew([batch.lease], 15.0, reports={batch.lease: Report(batch.first, 7000, 9000, "rows")})


def test_explain_and_tubes_show_what_a_handler_reported(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    ask(reported)
    progress = json.loads(typed("explain", "shop.Charge", "7", "--json").output)["progress"]

    assert (progress["done"], progress["of"], progress["note"]) == (7000, 9000, "rows")
    assert " ago: 7,000 of 9,000: rows\n" in typed("explain", "shop.Charge", "7").output
    assert "7,000 of 9,000: rows" in typed("tubes", "shop.Charge").output
    (shard,) = json.loads(typed("tubes", "shop.Charge", "--json").output)
    assert {**shard["tubes"][0]["progress"], "reported_seconds": 0} == {**progress, "reported_seconds": 0}


def test_workers_are_listed_with_the_progress_of_their_longest_work(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    assert "progress" not in typed("workers", "shop.Charge").output
    ask(reported)
    told = json.loads(typed("workers", "shop.Charge", "--json").output)

    assert (told["longest_thread"], told["progress"]["done"], told["progress"]["note"]) == ("7", 7000, "rows")
    assert "7: 7,000 of 9,000: rows" in typed("workers", "shop.Charge").output


def test_workers_are_listed_with_what_they_hold(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    bind(ask)

    async def told(redis: Redis) -> None:
        coordinator = RedisCoordinator(redis)
        coordinator.attach(RedisStorage(redis))
        about = About("1.2.3", 8, 1_700_000_000_000)
        await coordinator.bind(SHARD, BindRequest("worker-2/x", 0, 1, 15.0, about=about))

    ask(told)
    first, second = (json.loads(line) for line in typed("workers", "shop.Charge", "--json").output.splitlines())

    assert (first["worker"], first["threads"], first["busy"], first["version"]) == ("worker-1", 1, 1, None)
    assert (second["worker"], second["threads"], second["version"]) == ("worker-2", 0, "1.2.3")
    assert second["started_at"] == "2023-11-14T22:13:20.000Z"
    table = typed("workers", "--all").output
    assert re.search(r"worker-2 +shop.Charge +0 +8 ", table)
    assert "worker-1" in table


def test_a_pause_says_who_and_why(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    typed("pause", "shop.Charge", "7", "--by", "anna", "--reason", "the bank asks us to")
    typed("pause", "shop.Charge", "--by", "otto")
    whole, thread = (json.loads(line) for line in typed("paused", "shop.Charge", "--json").output.splitlines())

    assert (whole["thread"], whole["by"], whole["reason"]) == (None, "otto", "no reason given")
    assert (thread["thread"], thread["by"], thread["reason"]) == ("7", "anna", "the bank asks us to")
    assert datetime.now(UTC) - datetime.fromisoformat(thread["paused_at"]) < timedelta(minutes=2)
    said = typed("paused", "shop.Charge").output.splitlines()
    assert re.fullmatch(r"thread 7 of shop.Charge, since 20\S+Z by anna: the bank asks us to", said[1])
    explained = json.loads(typed("explain", "shop.Charge", "7", "--json").output)
    assert (explained["paused_by"], explained["pause_reason"]) == ("anna", "the bank asks us to")
    wrong = typed("pause", "shop.Charge", "7", "--reason", "two\nlines")
    assert (wrong.exit_code, "a line of 1 to 500 printable characters" in wrong.output) == (2, True)


async def tell(redis: Redis, *owners: str) -> None:
    coordinator = RedisCoordinator(redis)
    coordinator.attach(RedisStorage(redis))
    for owner in owners:
        about = About("1.2.3", 8, 1_700_000_000_000)
        await coordinator.bind(SHARD, BindRequest(owner, 0, 1, 15.0, about=about))


def test_workers_are_listed_within_the_width_of_a_terminal(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    ask(lambda redis: tell(redis, "worker-2/x"))
    head, _, narrow = typed_at(80, "workers", "--all").output.splitlines()

    assert head.split("  ")[0] == "worker"
    assert "last asked" in head
    assert len(narrow) <= 80
    assert "started" not in head
    assert {"up", "version", "started"} <= set(typed_at(160, "workers", "--all").output.split())


def test_workers_of_one_name_are_told_apart(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    ask(lambda redis: tell(redis, "worker-2/1a", "worker-2/2b", "worker-3/3c"))
    listed = [line.split()[0] for line in typed_at(160, "workers", "--all").output.splitlines()[2:]]

    assert listed == ["worker-2/1a", "worker-2/2b", "worker-3"]


def test_a_worker_that_fell_silent_is_not_called_up(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    ask(lambda redis: tell(redis, "worker-2/x"))

    async def older(redis: Redis) -> None:
        (member,) = await redis.zrange("lock_{shop.Charge}:workers", 0, -1)
        await redis.zincrby("lock_{shop.Charge}:workers", -40_000, member)

    ask(older)
    (_, _, row) = typed_at(160, "workers", "--all").output.splitlines()

    assert re.search(r" 40\.\d s ago +1\.2\.3 ", row)


def test_a_worker_that_is_full_with_threads_of_others_is_not_listed_as_idle(ask: Ask) -> None:
    """`0 of 1` said that it had room."""
    register(ask, "7", b"[1]")

    async def told(redis: Redis) -> None:
        coordinator = RedisCoordinator(redis)
        coordinator.attach(RedisStorage(redis))
        about = About("1.2.3", 1, 1_700_000_000_000)
        for shard in (Shard("shop.Other"), SHARD):
            await coordinator.bind(shard, BindRequest("worker-2/x", 1, 1, 15.0, about=about))

    ask(told)
    table = typed("workers", "shop.Other").output

    assert " of 1" not in table
    assert re.search(r"handlers +threads +lanes +busy", table)
    assert re.search(r"worker-2 +shop.Other +0 +1 +0 ", table)


def test_a_delayed_request_is_run_now(ask: Ask) -> None:
    delayed = Registration([Entry("7", 0, [b"[1]", b"[2]"])], delay_seconds=60)
    (first,), _ = ask(lambda redis: RedisStorage(redis).register(SHARD, delayed))
    once, again = (typed("delayed", "run", "shop.Charge", str(first)) for _ in range(2))

    assert once.output == "1 delayed request of shop.Charge is in the tubes now\n"
    assert (again.exit_code, f"{first}: it is not delayed" in again.output) == (1, True)
    assert typed("delayed", "run", "shop.Charge", "--all").output.startswith("1 delayed request of")
    requests = typed("peek", "shop.Charge", "7", "--json").output.splitlines()
    assert [json.loads(line)["request"] for line in requests] == [[1], [2]]


def test_a_delayed_request_is_moved(ask: Ask) -> None:
    delayed = Registration([Entry("7", 0, [b"[1]", b"[2]"])], delay_seconds=600)
    (first,), _ = ask(lambda redis: RedisStorage(redis).register(SHARD, delayed))
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    one = typed("delayed", "move", "shop.Charge", str(first), "--at", later.isoformat())
    wrong = typed("delayed", "move", "shop.Charge", "99", "--in", "60")

    assert one.output == f"1 delayed request of shop.Charge is due at {later:%Y-%m-%dT%H:%M:%SZ}\n"
    assert (wrong.exit_code, "99: it is not delayed" in wrong.output) == (1, True)
    listed = [json.loads(line) for line in typed("delayed", "list", "shop.Charge", "--json").output.splitlines()]
    assert [each["number"] for each in listed] == [first + 1, first]
    told = json.loads(typed("delayed", "move", "shop.Charge", "--all", "--in", "60", "--json").output)
    assert sorted(told["moved"]) == [first, first + 1]
    listed = [json.loads(line) for line in typed("delayed", "list", "shop.Charge", "--json").output.splitlines()]
    assert [each["due_at"] for each in listed] == [told["due_at"]] * 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give either --at TIME or --in SECONDS"),
        (["--at", "2030-01-31", "--in", "5"], "give either --at TIME or --in SECONDS"),
        (["--at", "tomorrow"], "'tomorrow' is not a time: give one in ISO 8601, as in '2030-01-31T09:00:00Z'"),
        (["--at", "2020-01-31T09:00:00"], "the new time is 2020-01-31T09:00:00Z: give one after 2"),
        (["--at", "9999-12-31T23:59:59Z"], "and at most ten years ahead"),
        (["--in", "0"], "0 is not in the range 1<=x<=315360000"),
    ],
)
def test_a_time_that_makes_no_sense_is_refused(ask: Ask, words: list[str], said: str) -> None:
    ask(lambda redis: RedisStorage(redis).register(SHARD, Registration([Entry("7", 0, [b"[1]"])], delay_seconds=60)))
    wrong = typed("delayed", "move", "shop.Charge", "--all", *words)

    assert (wrong.exit_code, wrong.stderr.count(said)) == (2, 1), wrong.stderr


def test_a_schedule_is_edited(ask: Ask) -> None:
    ask(lambda redis: RedisStorage(redis).schedule(SHARD, Schedule("pulse", every(600), "7", 0, b"[1]")))
    words = "schedules", "edit", "shop.Charge"
    said = typed(*words, "pulse", "--cron", "0 3 * * *", "--timezone", "Europe/Berlin").output
    told = json.loads(typed(*words, "pulse", "--every", "60", "--json").output)
    wrong = typed(*words, "puls", "--every", "60")

    assert said.startswith("shop.Charge: schedule pulse occurs cron 0 3 * * * in Europe/Berlin, next at 2")
    assert (told["schedule"], told["timing"]) == ("pulse", "every 60 s")
    (found,) = ask(lambda redis: RedisStorage(redis).schedules(SHARD))
    assert (found.timing, answers.at(found.next_ms)) == ("every 60 s", told["next_at"])
    assert (wrong.exit_code, "did you mean 'pulse'?" in wrong.output) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give either --every SECONDS or --cron LINE"),
        (["--every", "60", "--cron", "0 3 * * *"], "give either --every SECONDS or --cron LINE"),
        (["--every", "0.5"], "0.5 is not in the range 1<=x<=31536000"),
        (["--every", "nan"], "every_seconds is nan: a number from 1 to 31536000 (a year)"),
        (["--every", "60", "--timezone", "Europe/Berlin"], "an interval has no time zone"),
        (["--cron", "0 3 * *"], "cron is '0 3 * *': give five fields"),
        (["--cron", "0 3 31 2 *"], "cron is '0 3 31 2 *'"),
        (["--cron", "0 3 * * *", "--timezone", "Berlin"], "timezone is 'Berlin': give a name of the IANA list"),
    ],
)
def test_a_timing_that_makes_no_sense_is_refused(ask: Ask, words: list[str], said: str) -> None:
    ask(lambda redis: RedisStorage(redis).schedule(SHARD, Schedule("pulse", every(600), "7", 0, b"[1]")))
    wrong = typed("schedules", "edit", "shop.Charge", "pulse", *words)

    assert (wrong.exit_code, said in wrong.stderr) == (2, True), wrong.stderr
    assert [each.timing for each in ask(lambda redis: RedisStorage(redis).schedules(SHARD))] == ["every 600 s"]


def test_a_schedule_is_run_now(ask: Ask) -> None:
    ask(lambda redis: RedisStorage(redis).schedule(SHARD, Schedule("pulse", every(600), "7", 0, b"[1]")))
    told = json.loads(typed("schedules", "run", "shop.Charge", "pulse", "--json").output)
    wrong = typed("schedules", "run", "shop.Charge", "puls")

    assert (told["thread"], told["priority"]) == ("7", 0)
    assert f"request {told['sequence'] + 1} of 7/0" in typed("schedules", "run", "shop.Charge", "pulse").output
    assert (wrong.exit_code, "did you mean 'pulse'?" in wrong.output) == (2, True)


def test_requests_are_json_values_and_moments_iso_8601(ask: Ask) -> None:
    register(ask, "7", b'{"id":12345678901234567890,"text":"a"}', b"no json")
    first, second = (json.loads(line) for line in typed("peek", "shop.Charge", "7", "--json").output.splitlines())

    assert first["request"] == {"id": 12345678901234567890, "text": "a"}
    assert datetime.fromisoformat(first["registered_at"]).tzinfo is not None
    assert (first["unreadable"], second["request"]) == (None, None)
    assert second["unreadable"].endswith("no json")


@pytest.mark.parametrize("columns", [80, 200])
def test_long_names_lose_their_middle_and_no_number(ask: Ask, columns: int) -> None:
    name = "customer-" + "0123456789" * 20 + "-the-end"
    for _ in range(3):
        register(ask, name, b"[1]", b"[2]")
    age(ask, name, 5000)
    bind(ask)
    tubes, lag = (typed_at(columns, command, "--all").output for command in ("tubes", "lag"))

    for said in (tubes, lag):
        (row,) = [line for line in said.splitlines() if "…" in line and "end  " in line]
        assert all(len(line) <= columns for line in said.splitlines() if "thread customer" not in line)
        assert {"0", "6"} <= set(row.split())
        assert "1 h 23 min" in row
    assert "worker-1" in tubes
    assert "holds it" in " ".join(lag.split())
    assert name in typed("tubes", "--all").output


def typed_at(columns: int, *words: str) -> Result:
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(main, words)


def test_pausing_waits_no_longer_for_redis_than_reading_does() -> None:
    settings.redis_address, settings.redis_timeout = ("127.0.0.1:1",), 0.1
    for words in (
        ["pause", "a.B", "--force"],
        ["dead", "drop", "a.B", "--all", "--reason", "why", "--yes"],
        ["resume", "a.B"],
    ):
        said = typed(*words)

        assert said.exit_code == 1
        assert said.stderr.startswith("Error: no answer of Redis in 0.1 s"), said.stderr


def test_dropping_needs_to_be_told_which(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    said = typed("dead", "drop", "shop.Charge", "--reason", "why")

    assert (said.exit_code, "select dead letters by their numbers" in said.output) == (2, True)


def test_a_drop_says_that_what_was_dropped_still_keeps_others_out(ask: Ask) -> None:
    once = Registration([Entry("7", 0, [b"[1]"], ["one"])], window_seconds=60)
    ask(lambda redis: RedisStorage(redis).register(SHARD, once))
    said = typed("drop", "shop.Charge", "7", "--all", "--reason", "why", "--yes").output

    assert said.splitlines()[1:] == [
        "a request that was registered with deduplication keeps others out until its window ends, also when dropped"
    ]


def test_dropped_letters_are_gone(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    die(ask)
    typed("dead", "drop", "shop.Charge", "--all", "--reason", "why", "--yes")

    assert typed("dead", "list", "shop.Charge").output == "shop.Charge has no dead letters\n"


def test_waiting_requests_are_dropped_with_a_reason(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]", b"[3]")
    first = json.loads(typed("peek", "shop.Charge", "7", "--json").output.splitlines()[0])["sequence"]
    words = ["drop", "shop.Charge", "7", str(first + 1), "99", "--reason", "wrong price", "--by", "ann"]
    refused = CliRunner().invoke(main, words, input="n\n")
    said = CliRunner().invoke(main, words, input="y\n")
    (drop,) = (json.loads(line) for line in typed("dropped", "shop.Charge", "--json").output.splitlines())

    assert refused.exit_code == 1
    assert "Drop 1 request of thread 7 of shop.Charge? [y/N]" in refused.output
    assert said.exit_code == 1
    assert said.stdout.removeprefix(" y\n").splitlines() == [  # older versions of click show the answer
        "1 request of thread 7 of shop.Charge is dropped: dead letters 1 to 1",
        "99: no request of priority 0 has this number",
    ]
    assert {**drop, "dropped_at": ""} == {
        "dropped_at": "", "by": "ann", "reason": "wrong price", "thread": "7", "requests": 1, "letter": 1
    }  # fmt: skip
    assert "dropped by ann: wrong price" in typed("dead", "list", "shop.Charge").output
    requests = typed("peek", "shop.Charge", "7", "--json").output.splitlines()
    assert [json.loads(line)["request"] for line in requests] == [[1], [3]]


def test_a_whole_thread_is_dropped_but_what_is_in_hand(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]", b"[3]")
    bind(ask)
    said = typed("drop", "shop.Charge", "7", "--all", "--reason", "gone", "--yes")

    assert said.exit_code == 1
    assert said.stdout.splitlines() == [
        "2 requests of thread 7 of shop.Charge are dropped: dead letters 1 to 2",
        "1 request was not dropped: a worker is handling it",
    ]
    assert "gone" in typed("dropped", "shop.Charge").output


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["7", "--reason", "x"], "select requests by their numbers, or all of them"),
        (["7", "1", "--all", "--reason", "x"], "select requests by their numbers, or all of them"),
        (["7", "--all"], "Missing option '--reason'"),
        (["7", "--all", "--reason", ""], "reason is '': give a line of 1 to 500 printable characters"),
        (["8", "--all", "--reason", "x"], "has no thread '8' with requests"),
    ],
)
def test_drop_says_what_makes_no_sense(ask: Ask, words: list[str], complaint: str) -> None:
    register(ask, "7", b"[1]")
    refused = typed("drop", "shop.Charge", *words)

    assert (refused.exit_code, complaint in refused.output) == (2, True), refused.output


@pytest.mark.parametrize("words", ["drop shop.Charge 7 --all", "dead drop shop.Charge --all"])
def test_what_an_act_would_do_is_told_without_a_reason(ask: Ask, words: str) -> None:
    register(ask, "7", b"[1]")
    planned = typed(*words.split(), "--dry-run")

    assert (planned.exit_code, "Missing option" in planned.output) == (0, False), planned.output


def test_check_finds_all_true(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]")

    assert typed("check", "shop.Charge").output == "shop.Charge: no faults\n"


def test_check_names_what_somebody_changed_behind_our_back(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]")
    ask(lambda redis: redis.lpop("tube_{shop.Charge}/7/0"))
    said = typed("check", "shop.Charge")

    assert said.exit_code == 1
    assert "tube 7/0 holds 1 request, its index says 2" in said.output


def test_check_repairs_what_somebody_changed_and_says_what(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]")
    ask(lambda redis: redis.lpop("tube_{shop.Charge}/7/0"))
    said = typed("check", "shop.Charge", "--repair")

    assert said.exit_code == 0, said.output
    assert "repaired: counters depth: 2 is now 1\n" in said.output
    assert said.output.endswith("shop.Charge: no faults\n")
    assert json.loads(typed("check", "shop.Charge", "--repair", "--json").output)["changes"] == []


NEEDS_A_LOOK = [*("failing", "blocked", "bound", "ready", "paused")]
"""Threads, each named by its state, in the order in which somebody should look at them."""


@pytest.fixture
def in_all_states(ask: Ask) -> None:
    """What is paused waits longest, and what fails has just come."""

    async def fill(redis: Redis) -> None:
        storage, coordinator = RedisStorage(redis), RedisCoordinator(redis)
        coordinator.attach(storage)

        async def hand_out(thread: str, *delays: float) -> None:
            await storage.register(SHARD, Registration([Entry(thread, 0, [b"[1]"])]))
            for attempt, delay in enumerate(delays, 1):
                (batch,) = (await coordinator.bind(SHARD, BindRequest("worker-1/x", 1, 1, 15.0))).batches
                await storage.fail(Failure(batch.lease, 0, batch.first, attempt, "ValueError: declined", delay))
                await coordinator.release([batch.lease])

        await hand_out("blocked", 600.0)
        await hand_out("failing", 0.0)
        await hand_out("bound")
        await coordinator.bind(SHARD, BindRequest("worker-1/x", 2, 1, 15.0))
        await hand_out("paused")
        await storage.pause(SHARD, "paused", True)
        await hand_out("ready")
        for seconds, thread in zip((1, 2, 4, 3, 5), NEEDS_A_LOOK, strict=True):
            await redis.zincrby("tube_{shop.Charge}:oldest", -1000 * seconds, f"{thread}/0")

    ask(fill)


def listed(*words: str) -> list[str]:
    (shard,) = json.loads(typed("tubes", "shop.Charge", "--json", *words).output)
    return [tube["thread"] for tube in shard["tubes"]]


@pytest.mark.usefixtures("in_all_states")
def test_page_and_command_list_first_what_needs_a_look(ask: Ask) -> None:
    states = ask(lambda redis: RedisStorage(redis).observe([SHARD], LISTED))
    handler = WatchedHandler(Named("shop.Charge", 1), states, History())
    seen = Seen(World(handlers={"shop.Charge": handler}), Details({}), Bodies(), Jobs())
    page, one = (
        HandlerPage().facts(seen, QueryParams({"handler": "shop.Charge"} | more)) for more in ({}, {"state": "ready"})
    )
    printed = typed("tubes", "shop.Charge").output.partition("held by")[2]

    assert [tube.thread for tube in page["tubes"].items] == listed() == NEEDS_A_LOOK
    assert re.findall(r"^shop.Charge +(\w+)", printed, re.MULTILINE) == NEEDS_A_LOOK
    assert [tube.thread for tube in one["tubes"].items] == ["ready"]
    assert dict(page["states"]) == dict.fromkeys(NEEDS_A_LOOK, 1)


@pytest.mark.usefixtures("in_all_states")
def test_threads_are_listed_by_their_state() -> None:
    assert listed("--failing") == ["failing", "blocked"]
    assert listed("--state", "ready", "--state", "paused", "--worst", "1") == ["ready"]
    none = typed("tubes", "shop.Charge", "--state", "parked", "--state", "quarantined").output
    assert "no thread is parked or quarantined, of the 1,000 tubes of each shard that wait longest" in none


def test_what_fails_is_found_behind_many_that_wait_longer(ask: Ask) -> None:
    register(ask, "failing", b"[1]")
    bind_and_fail(ask)
    for thread in range(60):
        register(ask, str(thread), b"[1]")
        age(ask, str(thread), 60)

    assert listed("--failing") == ["failing"]


def bind_and_fail(ask: Ask) -> None:
    async def failed(redis: Redis) -> None:
        storage, coordinator = RedisStorage(redis), RedisCoordinator(redis)
        coordinator.attach(storage)
        (batch,) = (await coordinator.bind(SHARD, BindRequest("w/1", 1, 1, 15.0))).batches
        await storage.fail(Failure(batch.lease, 0, batch.first, 1, "ValueError: declined", 600.0))
        await coordinator.release([batch.lease])

    ask(failed)


@pytest.mark.usefixtures("in_all_states")
def test_a_filter_asks_redis_no_more_often(ask: Ask) -> None:
    async def scripts_run(redis: Redis) -> int:
        return int((await redis.info("commandstats"))["cmdstat_evalsha"]["calls"])

    def cost(*words: str) -> int:
        before = ask(scripts_run)
        typed("tubes", "shop.Charge", *words)
        return ask(scripts_run) - before

    typed("tubes", "shop.Charge")  # loads the scripts
    assert cost() == cost("--failing") == cost("--state", "bound") == 3


def age(ask: Ask, thread: str, seconds: int) -> None:
    """Let a thread's requests have waited for so long."""

    async def aged(redis: Redis) -> None:
        for name, member in (("oldest", f"{thread}/0"), ("ready", thread)):
            await redis.zincrby(f"tube_{{shop.Charge}}:{name}", -1000 * seconds, member)

    ask(aged)


def bind(ask: Ask, threads: int = 1) -> None:
    async def bound(redis: Redis) -> None:
        coordinator = RedisCoordinator(redis)
        coordinator.attach(RedisStorage(redis))
        await coordinator.bind(SHARD, BindRequest("worker-1/x", threads, 1, 15.0))

    ask(bound)


def test_lag_names_the_longest_wait_and_who_holds_it(ask: Ask) -> None:
    register(ask, "7", b"[1]", b"[2]")
    register(ask, "8", b"[3]")
    age(ask, "7", 90)
    bind(ask)
    (told,) = json.loads(typed("lag", "shop.Charge", "--json").output)

    assert (told["handler"], told["thread"], told["priority"], told["depth"]) == ("shop.Charge", "7", 0, 2)
    assert (round(told["lag_seconds"], -1), told["held_by"]) == (90, "worker-1/x")
    since = datetime.now(UTC) - datetime.fromisoformat(told["since_at"])
    assert 90 <= since.total_seconds() < 120
    assert "1 min 30 s" in typed("lag", "shop.Charge").output


def test_lag_says_what_a_thread_waits_for(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    typed("pause", "shop.Charge", "7")
    (told,) = json.loads(typed("lag", "shop.Charge", "--json").output)

    assert (told["held_by"], "thread 7 is paused" in told["why"]) == (None, True)


def test_lag_of_an_empty_handler_is_none(ask: Ask) -> None:
    bind(ask)
    (told,) = json.loads(typed("lag", "shop.Charge", "--json").output)

    assert (told["thread"], told["since_at"], told["held_by"], told["why"]) == (None, None, None, "no requests")


def test_requests_that_nobody_serves_are_told(ask: Ask) -> None:
    """Whether or not anybody names their handler, once they have waited for a minute."""
    register(ask, "7", b"[1]", b"[2]")
    early = typed("tubes", "--all").output
    age(ask, "7", 61)
    sentence = "No worker serves shop.Charge: none has ever polled for its threads; 2 requests wait"

    assert "No worker serves" not in early
    assert sentence in typed("tubes", "--all").output
    assert json.loads(typed("tubes", "--all", "--json").output)[0]["is_unconsumed"]
    assert "no worker serves its handler: none has ever polled" in typed("lag", "--all").output


def test_requests_that_a_worker_asked_for_are_served(ask: Ask) -> None:
    register(ask, "7", b"[1]")
    bind(ask)
    bind(ask)
    register(ask, "8", b"[1]")
    age(ask, "8", 3600)

    assert "No worker" not in typed("tubes", "shop.Charge").output


def test_all_finds_the_shards_of_a_handler(ask: Ask) -> None:
    for number in (0, 1):
        ask(
            lambda redis, number=number: RedisStorage(redis).register(
                Shard("a.B", number, 2), Registration([Entry("7", 0, [b"1"])])
            )
        )
    register(ask, "7", b"[1]")
    told = json.loads(typed("tubes", "--all", "--json").output)

    assert [(each["handler"], each["shard"], each["depth"]) for each in told] == [
        ("a.B", 0, 1),
        ("a.B", 1, 1),
        ("shop.Charge", 0, 1),
    ]


def register_by_key(ask: Ask, layout: Layout, *threads: int) -> None:
    entries = [Entry(layout.thread(thread), 0, [b"[1]"]) for thread in threads]
    ask(lambda redis: RedisStorage(redis).register(SHARD, Registration(entries, layout=layout)))


def test_reshard_says_what_is_left_of_the_old_layout(ask: Ask) -> None:
    register_by_key(ask, Layout(1, 2), 0, 1)
    spread = "the keys of shop.Charge are spread over 6 threads, by layout 2"
    said = f"{spread}; 2 threads of the previous layout are not drained"

    assert typed("reshard", "shop.Charge", "6").output == f"{said}, 0 wait for them\n"
    register_by_key(ask, Layout(2, 6), 2, 3)
    assert typed("reshard", "shop.Charge").output == f"{said}, 2 wait for them\n"


def test_reshard_answers_programs(ask: Ask) -> None:
    register_by_key(ask, Layout(1, 2), 0)
    answers = [json.loads(typed("reshard", "shop.Charge", "6", "--json").output) for _ in range(2)]
    facts = {"handler": "shop.Charge", "threads": 6, "layout": 2, "undrained": 1, "parked": 0}

    assert answers == [{**facts, "changed": True}, {**facts, "changed": False}]


def test_reshard_refuses_while_the_change_before_is_not_finished(ask: Ask) -> None:
    register_by_key(ask, Layout(1, 2), 0)
    typed("reshard", "shop.Charge", "6")
    refused = typed("reshard", "shop.Charge", "3")

    assert refused.exit_code == 1
    assert "shop.Charge cannot change to 3 threads yet: its last change, to 6, is not finished" in refused.output


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["shop.Charge", "0"], "the number of threads is 0: from 1 to 65,536"),
        (
            ["shop.Split", "6", "--shards", "4"],
            "the number of threads is 6, but the handler has 4 shards: a multiple of 4",
        ),
        (["shop.Charg", "6"], "did you mean 'shop.Charge'?"),
    ],
)
def test_reshard_says_what_makes_no_sense(ask: Ask, words: list[str], complaint: str) -> None:
    register_by_key(ask, Layout(1, 2), 0)
    ask(lambda redis: RedisStorage(redis).register(Shard("shop.Split", 3, 4), Registration([Entry("7", 0, [b"1"])])))
    refused = typed("reshard", *words)

    assert refused.exit_code == 2
    assert complaint in refused.output


def test_a_spread_handler_is_resharded_in_all_its_shards(ask: Ask) -> None:
    shards = [Shard(SHARD.handler, number, 2) for number in range(2)]
    layout = Layout(1, 4)
    ask(lambda redis: RedisStorage(redis).register(shards[1], Registration([Entry("1:3", 0, [b"[1]"])], layout=layout)))
    typed("reshard", "shop.Charge", "6", "--shards", "2")

    states = ask(lambda redis: RedisStorage(redis).observe(shards))
    assert [state.layout for state in states] == [Layout(1, 6), Layout(2, 6)]


def test_explain_names_the_old_threads_that_a_thread_waits_for(ask: Ask) -> None:
    register_by_key(ask, Layout(1, 2), 1)
    typed("reshard", "shop.Charge", "6")
    register_by_key(ask, Layout(2, 6), 3)

    assert (
        "thread 2:3 is parked: it waits for threads 1:1 of the old layout"
        in typed("explain", "shop.Charge", "2:3").output
    )


def test_tubes_tell_programs_of_parked_threads(ask: Ask) -> None:
    register_by_key(ask, Layout(1, 2), 1)
    typed("reshard", "shop.Charge", "6")
    register_by_key(ask, Layout(2, 6), 3)
    (facts,) = json.loads(typed("tubes", "shop.Charge", "--json").output)

    assert (facts["depth"], facts["ready"], facts["parked"]) == (2, 1, 1)


def spoil(*command: Any) -> Callable[[Redis], Awaitable[Any]]:
    return lambda redis: redis.execute_command(*command)


async def both(redis: Redis) -> None:
    """Two handlers with a request each."""
    for handler in (SHARD, Shard("shop.Refund")):
        await RedisStorage(redis).register(handler, Registration([Entry("a", 0, [b"1"])]))


@pytest.mark.parametrize("command", ["tubes", "lag"])
def test_a_handler_that_cannot_be_read_does_not_hide_the_others(ask: Ask, command: str) -> None:
    ask(both)
    ask(spoil("SET", "tube_{shop.Charge}:ready", "x"))
    told = CliRunner().invoke(main, [command, "shop.Charge", "shop.Refund"])

    assert told.exit_code == 0
    assert "shop.Refund" in told.stdout
    assert "the key tube_{shop.Charge}:ready holds no sorted set" in told.stderr
    assert "shop.Charge" not in told.stdout


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["check", "shop.Charge"], "the key tube_{shop.Charge}:counters holds no hash"),
        (["explain", "shop.Charge", "a"], "the key tube_{shop.Charge}:counters holds no hash"),
        (["check", "shop.Charge", "--repair"], "repaired: counters"),
    ],
)
def test_a_key_of_another_kind_is_named_with_what_to_do(ask: Ask, command: list[str], expected: str) -> None:
    ask(both)
    ask(spoil("SET", "tube_{shop.Charge}:counters", "x"))
    told = CliRunner().invoke(main, command)

    assert expected in told.output
    assert not isinstance(told.exception, Exception)


@pytest.mark.parametrize(
    "command",
    [["tubes"], ["lag"], ["check"], ["check", "--repair"], ["dead", "list"], ["schedules", "list"]],
    ids="_".join,
)
def test_no_command_ends_in_a_traceback_for_what_cannot_be_read(ask: Ask, command: list[str]) -> None:
    hostile = b"\xff\x00\n\x1b"
    ask(both)
    for name in ("threads", "failures", "later", "letters", "firsts", "schedules", "counters"):
        ask(spoil("HSET", f"tube_{{shop.Charge}}:{name}", hostile, hostile))
    for name in ("ready", "blocked", "oldest", "deep", "due", "dead", "identities", "occurrences", "old", "parked"):
        ask(spoil("ZADD", f"tube_{{shop.Charge}}:{name}", "-inf", hostile))
    told = CliRunner().invoke(main, [*command[:1], *command[1:2], "shop.Charge", *command[2:]])

    assert not isinstance(told.exception, Exception), told.exception
    assert "\x1b" not in told.output


def test_a_thread_in_quarantine_is_explained(ask: Ask) -> None:
    ask(both)
    ask(spoil("HSET", "tube_{shop.Charge}:threads", "a", "?"))
    told = CliRunner().invoke(main, ["explain", "shop.Charge", "a"])

    assert "thread a is quarantined: the record of its tubes cannot be read" in told.output


@pytest.mark.parametrize("thread", ["a\nb", "\u202e", "x" * 257])
def test_thread_that_no_request_can_have_is_not_paused(ask: Ask, thread: str) -> None:
    said = typed("pause", "shop.Charge", thread, "--force")

    assert (said.exit_code, "must be 1 to 256 bytes of printable text" in said.stderr) == (2, True)
    assert ask(lambda redis: redis.zcard("tube_{shop.Charge}:blocked")) == 0
