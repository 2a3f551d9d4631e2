"""`sharded-queue drop`: take waiting requests out of a thread; `dropped`: who did so, and why."""

import getpass
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import click
from rich.text import Text

from sharded_queue.admin import answers
from sharded_queue.admin.handlers import Named, must_have, named
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.arguments import BadInput
from sharded_queue.cli.output import LONGEST, console, emit, emit_lines, read_about
from sharded_queue.cli.tables import Fitted, name, number, text, word
from sharded_queue.options import NAME, module_options
from sharded_queue.printable import be, counted, instant, printable
from sharded_queue.settings import settings
from sharded_queue.state import Drop
from sharded_queue.storage import TOO_DEEP, Dropped, Removal, Waiting, digest_of
from sharded_queue.tube import Tube

IN_HAND = "a worker has it in hand"
DUPLICATES = (
    "a request that was registered with deduplication keeps others out until its window ends, also when dropped"
)


class Selected(NamedTuple):
    """What to drop: requests (None: the whole thread) and their number, and why others are not there."""

    requests: Sequence[Waiting] | None
    total: int
    left: Mapping[str, str]


def someone() -> str:
    """The user of this process, as the system knows it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return "unknown"


@click.command()
@click.argument("handler", type=NAME)
@click.argument("thread", type=NAME)
@click.argument("numbers", type=click.IntRange(-(2**53), 2**53), nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="All requests of the thread that no worker has in hand.")
@click.option("--priority", type=int, default=lambda: settings.default_priority, help="The tube of the NUMBERS.")
@click.option("--reason", required=True, help="Why: a line that stays with the dead letters and in `dropped`.")
@click.option("--by", "actor", default=someone, help="Who drops them. Defaults to the user of this process.")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@module_options
@click.option("--json", "as_json", is_flag=True, help="Print what became of the requests as JSON.")
def drop(
    handler: str,
    thread: str,
    numbers: tuple[int, ...],
    is_all: bool,
    priority: int,
    reason: str,
    actor: str,
    is_sure: bool,
    modules: tuple[str, ...],
    spread: int | None,
    as_json: bool,
) -> None:
    """
    Drop waiting requests of a thread, by the NUMBERS that `peek` shows, or all of it. They go to the dead letters, and
    `dead replay` puts them back. The others keep their order. Exit 1 if one of them stays. The NUMBERS are those of one
    tube: of --priority, or else of QUEUE_DEFAULT_PRIORITY, 0.
    """
    if bool(numbers) == is_all:
        raise BadInput("give the NUMBERS that `peek` shows, or --all")
    (found,) = named([handler], modules, spread)
    removal = removal_of(actor, reason)

    async def dropped(storage: RedisStorage) -> tuple[answers.Dropped, bool]:
        await must_have(storage, found, thread)
        selected = await select(storage, found, thread, priority, numbers)
        if selected.total and not is_sure:
            what = f"{counted(selected.total, 'request')} of thread {printable(thread)} of {printable(handler)}"
            click.confirm(f"Drop {what}? They go to the dead letters", abort=True, err=True)
        done = await storage.drop(found.shard_of(thread), thread, removal, selected.requests)
        keeps_others_out = bool(done.letters) and await storage.has_identities(found.shard_of(thread))
        return answer(handler, thread, done, selected.left), keeps_others_out

    told, keeps_others_out = read_about(found, dropped)
    words = f"{counted(len(told.letters), 'request')} of thread {printable(thread)} {be(len(told.letters))} dropped"
    as_letters = f": dead letters {told.letters[0]} to {told.letters[-1]}" if told.letters else ""
    emit(as_json, told, words + as_letters, *sentences(told, is_all), *[DUPLICATES] * keeps_others_out)
    if told.left:
        raise SystemExit(1)


def removal_of(actor: str, reason: str) -> Removal:
    """
    Raises:
        BadInput: a part is not a line of text.
    """
    removal = Removal(actor, reason)
    try:
        assert removal.sentence
    except ValueError as error:
        raise BadInput(str(error)) from error
    return removal


async def select(storage: RedisStorage, handler: Named, thread: str, priority: int, numbers: Sequence[int]) -> Selected:
    """The requests of these numbers as they are now, or the whole thread."""
    shard = handler.shard_of(thread)
    if not numbers:
        state = await storage.explain(shard, thread)
        return Selected(None, sum(tube.depth for tube in state.tubes) - state.in_hand, {})
    requests, left = [], {}
    for sequence in sorted(set(numbers)):
        for found, message in await storage.peek(Tube(shard, thread, priority), 1, after=sequence - 1):
            if found == sequence:
                requests.append(Waiting(priority, sequence, digest_of(message)))
                break
        else:
            left[str(sequence)] = f"no request of priority {priority} has this number"
    return Selected(requests, len(requests), left)


def answer(handler: str, thread: str, done: Dropped, left: Mapping[str, str]) -> answers.Dropped:
    held = {str(request.sequence): IN_HAND for request in done.held}
    gone = {str(request.sequence): "it was handled meanwhile, or has another number" for request in done.missing}
    deep = {str(request.sequence): TOO_DEEP for request in done.deep}
    return answers.Dropped(
        handler=handler,
        thread=thread,
        letters=done.letters,
        in_hand=done.in_hand,
        left={**left, **held, **gone, **deep},
    )


def sentences(told: answers.Dropped, is_all: bool) -> list[str]:
    said = [f"{sequence} is not dropped: {why}" for sequence, why in told.left.items()]
    if is_all and told.in_hand:
        said.append(f"{counted(told.in_hand, 'request')} {be(told.in_hand)} not dropped: a worker has them in hand")
    return said


@click.command()
@click.argument("handler", type=NAME)
@module_options
@click.option("--count", type=click.IntRange(1, 1000), default=100, show_default=True, help="Drops to show.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per drop.")
def dropped(handler: str, modules: tuple[str, ...], spread: int | None, count: int, as_json: bool) -> None:
    """Show who dropped requests of a handler and why, the newest drop first. The last 1,000 of a shard are kept."""
    (found,) = named([handler], modules, spread)
    drops = read_about(found, lambda storage: newest(storage, found, count))
    if as_json:
        emit_lines(map(drop_answer, drops))
    elif drops:
        show(drops)
    else:
        click.echo(f"nobody dropped requests of {printable(handler)}")


async def newest(storage: RedisStorage, handler: Named, count: int) -> list[Drop]:
    drops = [each for shard in handler.shards for each in await storage.drops(shard, count)]
    return sorted(drops, key=lambda each: -each.at_ms)[:count]


def drop_answer(each: Drop) -> answers.Drop:
    return answers.Drop(
        dropped_at=answers.at(each.at_ms),
        by=each.actor,
        reason=each.reason,
        thread=each.thread,
        requests=each.requests,
        letter=each.letter,
    )


def show(drops: Sequence[Drop]) -> None:
    columns = [word("dropped"), name("by"), name("thread"), number("requests"), number("dead letters from")]
    rows: list[list[str | Text]] = [
        [
            instant(each.at_ms),
            each.actor,
            each.thread,
            str(each.requests),
            str(each.letter),
            Text(printable(each.reason, LONGEST)),
        ]
        for each in drops
    ]
    console().print(Fitted([*columns, text("reason")], rows))
