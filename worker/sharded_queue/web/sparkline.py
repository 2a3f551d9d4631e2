"""A line of the last minutes as inline SVG: no script, no style attribute, a few hundred bytes."""

from collections.abc import Sequence

from markupsafe import Markup

from sharded_queue.web.history import POINTS, STEP_SECONDS

WIDTH, HEIGHT = 120, 28
SPAN_SECONDS = (POINTS - 1) * STEP_SECONDS


def sparkline(points: Sequence[tuple[float, float]], what: str) -> Markup:
    """*points*: (seconds before the last one, value). The scale begins at 0 and ends at the highest value."""
    if len(points) < 2:
        return Markup('<svg class="spark" viewBox="0 0 {} {}" aria-hidden="true"></svg>').format(WIDTH, HEIGHT)
    top = max(value for _, value in points) or 1.0
    placed = [
        (round(WIDTH - WIDTH * min(1.0, ago / SPAN_SECONDS)), round((HEIGHT - 3) * (1 - value / top)) + 1)
        for ago, value in points
    ]
    line = " ".join(f"{x},{y}" for x, y in placed)
    area = f"{placed[0][0]},{HEIGHT} {line} {placed[-1][0]},{HEIGHT}"
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<polygon points="{}"/><polyline points="{}"/></svg>'
    ).format(WIDTH, HEIGHT, what, area, line)
