"""rq looks its jobs up by the names of their modules."""

from failing import note


def work(number: int) -> None:
    if note(number):
        raise ValueError("the first try")
