"""What a worker of `test_situations.py` serves: a request says what becomes of it."""

import asyncio

from sharded_queue import Handler, KeyRoute, Retry, Route, Snooze, current


class Job(Handler):
    """Requests are `THREAD WHAT`."""

    name = "shop.Job"
    retry = Retry(limit=5, base_seconds=0, cap_seconds=0)

    @classmethod
    async def route(cls, *requests: str) -> list[Route | KeyRoute]:
        return [Route(request.split()[0]) for request in requests]

    async def perform(self, *requests: str) -> None:
        for request in requests:
            match request.split()[1]:
                case "hangs":
                    await asyncio.Event().wait()
                case "hangs-at-last" if current().attempt == self.policy().limit:
                    await asyncio.Event().wait()
                case "hangs-alone" if len(requests) == 1:
                    await asyncio.Event().wait()
                case "works":
                    await asyncio.sleep(0.05)
                case "snoozes":
                    raise Snooze(3600, "the bank is closed")
                case "fails" | "hangs-at-last" | "hangs-alone":
                    raise TimeoutError("the bank did not answer")


class Patient(Job):
    """Backs off for long."""

    name = "shop.Patient"
    retry = Retry(limit=5, base_seconds=3600, cap_seconds=3600)


class Final(Job):
    """Every failure is final."""

    name = "shop.Final"
    retry = Retry(limit=1, base_seconds=0, cap_seconds=0)


class Strict(Job):
    """No request passes one that cannot be handled."""

    name = "shop.Strict"
    retry = Retry(limit=2, base_seconds=0, cap_seconds=0, exhausted="pause")


class Keyed(Job):
    """Its keys are spread over two threads."""

    name = "shop.Keyed"
    threads = 2

    @classmethod
    async def route(cls, *requests: str) -> list[Route | KeyRoute]:
        return [KeyRoute(request.split()[0]) for request in requests]
