"""Statistics of a list of measurements."""

import math
from collections.abc import Sequence
from statistics import median


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least *percent* of all values do not exceed (nearest rank)."""
    if not values or not 0 < percent <= 100:
        raise ValueError(f"no percentile {percent} of {len(values)} values")
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of each round. Whatever slows the machine for a while slows both sides of a round."""
    if not ours or len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} rounds make no pairs")
    return median(mine / other for mine, other in zip(ours, theirs, strict=True))


def spread(values: Sequence[float]) -> float:
    """The ratio of the largest value to the smallest."""
    return max(values) / min(values)
