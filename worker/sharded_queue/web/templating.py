"""Templates: every text in them is escaped twice, for HTML and for readers (`printable`)."""

import time
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from sharded_queue.admin.words import TONES, count, duration, interval, progress_words, times
from sharded_queue.printable import be, counted, instant, printable
from sharded_queue.web.sparkline import sparkline


def shown(value: Any) -> Any:
    """What `{{ … }}` shows: names, errors and bodies come from strangers, and may turn the writing direction."""
    if isinstance(value, Markup):
        return value
    return printable(value) if isinstance(value, str | bytes) else value


def link(page: str, **parameters: Any) -> str:
    """
    A relative address: it holds behind any prefix of a proxy. Names are in the query, where every character has a form.
    """
    given = {name: str(value) for name, value in parameters.items() if value not in (None, "")}
    return f"{page}?{urlencode(given)}" if given else page


def rate(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}/s" if value >= 10 or not value else f"{value:.1f}/s"


def clock(seconds: float) -> str:
    """A moment for people: the time of day in UTC, which the whole page speaks."""
    return time.strftime("%H:%M:%S", time.gmtime(seconds))


def exact(text: str) -> Markup:
    """A value that a form sends back: escaped for HTML, and otherwise as it is."""
    return escape(text)


def lines(text: str) -> list[str]:
    return text.split("\n")


environment = Environment(
    loader=PackageLoader("sharded_queue.web"),
    autoescape=True,
    finalize=shown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
environment.globals.update(link=link, sparkline=sparkline, TONES=TONES, counted=counted, be=be, times=times)
environment.filters.update(
    count=count,
    duration=duration,
    instant=instant,
    interval=interval,
    rate=rate,
    clock=clock,
    lines=lines,
    exact=exact,
    progress=progress_words,
)
environment.globals["parts"] = environment.get_template("parts.html").module
"""Macros, also for a block that is rendered by itself."""
