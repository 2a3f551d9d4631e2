"""
Whether the lanes of a worker progress at the same time: what a request costs with few lanes busy, and with many. Pure.

Lanes that wait, for a database say, do not disturb each other. Those of a handler that computes share one processor: a
request takes ten times as long when ten of them are busy, and nine are worth nothing. What a request takes of lanes is
the time for which lanes had requests in hand, divided by the requests that were settled. A line is fitted through it:

    s(k) = a + b · k        k: the mean number of busy lanes of a worker
    of k lanes progress       k · s(1) / s(k)

Something behind the workers that all of them share, such as a slow database, looks the same as long as there is one
worker, and more workers would make it slower. So this is reported, with the number to set, and no decision follows.
"""

from math import sqrt
from typing import NamedTuple

LEAST_READINGS = 20
"""Of one sample: each reading shows the busy lanes of a moment, and their mean must not depend on chance."""

LEAST_SETTLED = 10

LEAST_SAMPLES = 10.0
HALF_LIFE_SAMPLES = 50.0
"""The number of later samples after which one counts half."""

LEAST_SPREAD = 0.4
"""The standard deviation of the busy lanes, as a part of their mean, from which on a line says anything."""

LEAST_CORRELATION = 0.8
"""Between busy lanes and seconds. With requests of any length, chance alone stays below."""

LOST = 0.5
"""The part of the busy lanes that is reported when no more of them progress."""


class Stall(NamedTuple):
    """What a request takes with *busy* lanes of a worker and with one: only *useful* lanes progress."""

    busy: int
    seconds: float
    alone_seconds: float

    @property
    def useful(self) -> int:
        return max(1, round(self.busy * self.alone_seconds / self.seconds))


class Sample(NamedTuple):
    """What was seen in some readings: the time of workers with busy lanes, that of the lanes, and what was settled."""

    readings: int = 0
    worker_seconds: float = 0.0
    lane_seconds: float = 0.0
    settled: int = 0

    @property
    def is_whole(self) -> bool:
        return self.readings >= LEAST_READINGS and self.settled >= LEAST_SETTLED


class Sums(NamedTuple):
    """Over all samples, older ones weighing less: of lanes k and seconds s, and the highest k."""

    n: float = 0.0
    k: float = 0.0
    s: float = 0.0
    kk: float = 0.0
    ks: float = 0.0
    ss: float = 0.0
    most: float = 0.0

    def including(self, k: float, s: float) -> "Sums":
        kept = 0.5 ** (1 / HALF_LIFE_SAMPLES)
        return Sums(
            kept * self.n + 1,
            kept * self.k + k,
            kept * self.s + s,
            kept * self.kk + k * k,
            kept * self.ks + k * s,
            kept * self.ss + s * s,
            max(self.most, k),
        )

    @property
    def is_telling(self) -> bool:
        """Whether the lanes differed enough."""
        return self.n >= LEAST_SAMPLES and self._variance(self.kk, self.k) > (LEAST_SPREAD * self.k / self.n) ** 2

    def stall(self) -> Stall | None:
        mean_k, mean_s = self.k / self.n, self.s / self.n
        var_k, var_s = self._variance(self.kk, self.k), self._variance(self.ss, self.s)
        slope = (self.ks / self.n - mean_k * mean_s) / var_k
        if var_s <= 0 or slope * sqrt(var_k / var_s) < LEAST_CORRELATION:
            return None
        seconds, alone = (mean_s + slope * (k - mean_k) for k in (self.most, 1))
        found = Stall(round(self.most), seconds, max(alone, seconds / self.most))
        return found if found.useful <= LOST * found.busy else None

    def _variance(self, squares: float, total: float) -> float:
        return squares / self.n - (total / self.n) ** 2


class LaneTimes(NamedTuple):
    """Of one handler. *stall* is what was found when its samples last told anything."""

    at: float | None = None
    sample: Sample = Sample()
    sums: Sums = Sums()
    stall: Stall | None = None

    def after(self, settled: int, lanes: int, workers: int, now: float) -> "LaneTimes":
        """With a reading of now: *workers* have a number of *lanes* busy, and *settled* requests were settled since."""
        seconds = 0.0 if self.at is None else now - self.at
        sample = Sample(
            self.sample.readings + (lanes > 0),
            self.sample.worker_seconds + workers * seconds,
            self.sample.lane_seconds + lanes * seconds,
            self.sample.settled + settled,
        )
        if not sample.is_whole:
            return self._replace(at=now, sample=sample)
        sums = self.sums.including(sample.lane_seconds / sample.worker_seconds, sample.lane_seconds / sample.settled)
        return LaneTimes(now, Sample(), sums, sums.stall() if sums.is_telling else self.stall)
