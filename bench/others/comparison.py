"""All that is measured of other queues, and their tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from bench import server
from bench.environments import OTHERS, OURS, PREDECESSOR
from bench.figure import number
from bench.others import crash, handover, order, rates
from bench.others.crash import Crash
from bench.others.handover import Handover
from bench.others.order import Order
from bench.others.rates import Rates
from bench.others.script import scripts
from bench.scale import Scale

RATES_HEAD = (
    "queue",
    "job",
    "registered /s",
    "handled /s",
    "worker CPU µs",
    "Redis CPU µs",
    "commands",
    "reads",
    "bytes",
)
BEHAVIOUR_HEAD = (
    "queue",
    "hand-over p50 / p99",
    "order: one worker, one at a time",
    "one worker, defaults",
    "two workers",
    "`kill -9`: the job in hands",
    "the next job",
)


@dataclass(frozen=True, slots=True)
class Comparison:
    rates: Sequence[Rates] = ()
    handovers: Sequence[Handover] = ()
    orders: Sequence[Order] = ()
    crashes: Sequence[Crash] = ()

    def rates_table(self) -> list[tuple[str, ...]]:
        rows = [(each.name, each.job, *map(number, each.sample)) for each in self.rates]
        return [RATES_HEAD, *rows]

    def behaviour_table(self) -> list[tuple[str, ...]]:
        orders = {each.name: each for each in self.orders}
        crashes = {each.name: each for each in self.crashes}
        rows = [
            (each.name, handover_cell(each), *order_cells(orders.get(each.name)), *crash_cells(crashes.get(each.name)))
            for each in self.handovers
        ]
        return [BEHAVIOUR_HEAD, *rows]

    def remarks(self) -> dict[str, str]:
        return {each.name: each.competitor.remark for each in self.rates}


async def measure(redis: Redis, folder: Path, scale: Scale) -> Comparison:
    await server.track_no_latencies(redis)
    port = redis.connection_pool.connection_kwargs["port"]
    everyone = scripts([OURS, PREDECESSOR, *OTHERS], port)
    served = {competitor: script for competitor, script in everyone.items() if competitor is not PREDECESSOR}
    return Comparison(
        [each async for each in rates.measure(redis, everyone, scale)],
        [each async for each in handover.measure(redis, served, scale)],
        [each async for each in order.measure(redis, served, scale)],
        [each async for each in crash.measure(folder, served, scale)],
    )


def handover_cell(handover: Handover) -> str:
    return f"{number(handover.p50)} / {number(handover.p99)} ms"


def order_cells(order: Order | None) -> tuple[str, ...]:
    if order is None:
        return ("", "", "")
    return tuple(order_cell(broken, order.count) for broken in order.broken)


def order_cell(broken: int | None, count: int) -> str:
    if broken is None:
        return "failed"
    return f"{broken} of {count} too early" if broken else "kept"


def crash_cells(crash: Crash | None) -> tuple[str, str]:
    if crash is None:
        return ("", "")
    return interrupted_cell(crash), following_cell(crash)


def interrupted_cell(crash: Crash) -> str:
    if crash.again is not None:
        return f"again after {number(crash.again)} s"
    return "lost" if crash.is_lost else f"not within {crash.patience:g} s"


def following_cell(crash: Crash) -> str:
    if crash.next is None:
        return f"not within {crash.patience:g} s"
    is_before = crash.again is None or crash.next < crash.again
    return f"after {number(crash.next)} s" + (", before it" if is_before and not crash.is_lost else "")
