"""rq looks its jobs up by the names of their modules."""

from timing import lasting_sync


def work(number: int, text: str) -> None: ...


def told(number: int, text: str) -> None:
    lasting_sync(number)
