"""The seven workloads. Each plans what is registered at which time."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

from bench.simulation.timeline import us
from bench.simulation.world import Costs, World

THREADS = 100
FED_DEPTH = 5
FED_SECONDS = 20.0
"""The time for which the ten threads are busy before the single requests come."""


@dataclass(frozen=True, slots=True)
class Workload:
    """
    *span*: seconds for which a queue that never drains is watched; its drain time is that of its singles. *request*:
    seconds in the handler, where they are not those of the other workloads.
    """

    name: str
    title: str
    begin: Callable[[World], None]
    span: float | None = None
    counts_from: float = 0.0
    request: float | None = None

    def costs(self, costs: Costs) -> Costs:
        return costs if self.request is None else replace(costs, request=self.request)


def at_once(name: str, title: str, depths: list[int], request: float | None = None) -> Workload:
    """Registers all requests in one call. A shuffle with a fixed seed orders the threads."""
    mixed = Random(5).sample(depths, len(depths))
    named = {f"t{number:03d}": depth for number, depth in enumerate(mixed)}
    return Workload(name, title, lambda world: world.register(named), request=request)


def zipf(total: int, exponent: float, threads: int = THREADS) -> list[int]:
    """So many requests over *threads*, the n-th most popular with a share of 1 / n ** *exponent*, rounded in sum."""
    shares = [1 / rank**exponent for rank in range(1, threads + 1)]
    marks = [round(total * part / sum(shares)) for part in accumulate(shares)]
    return [mark - before for mark, before in zip(marks, [0, *marks], strict=False)]


def feed(world: World) -> None:
    singles = {f"single-{number:02d}": 1 for number in range(20)}
    world.register({f"fed-{number}": FED_DEPTH for number in range(10)}, refill=True)
    world.timeline.after(us(FED_SECONDS), lambda: world.register(singles))


WORKLOADS = (
    at_once("hot", "one hot thread of 1,500 + 99 × 3", [1_500] + [3] * 99),
    at_once("zipf", "zipf 1.1: 3,000 over 100 threads", zipf(3_000, 1.1)),
    at_once("flat-200", "flat: 100 threads × 200", [200] * THREADS),
    at_once("flat-60", "flat: 100 threads × 60", [60] * THREADS),
    at_once("flat-10", "flat: 100 threads × 10", [10] * THREADS),
    Workload("fed", "ten endless threads + 20 single", feed, span=120.0, counts_from=FED_SECONDS),
    at_once("long", "40 threads × 3 requests of 4 s", [3] * 40, request=4.0),
)
