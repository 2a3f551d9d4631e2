"""rq looks its jobs up by the names of their modules."""


def work(number: int, text: str) -> None: ...
