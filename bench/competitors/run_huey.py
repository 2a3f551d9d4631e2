"""huey: a consumer that blocks until a job comes and keeps no results, with four OS threads at its best."""

import itertools

from huey import RedisHuey
from huey.consumer import Consumer
from timing import HOW, IS_TOLD, NUMBER, PORT, lasting_sync, run, text

huey = RedisHuey("bench", port=PORT, **({} if HOW == "default" else {"results": False}))
consumer = Consumer(huey, workers=4 if HOW == "best" else 1, worker_type="thread")
counted = itertools.count(1)


@huey.task()
def work(number: int, text: str) -> None:
    if IS_TOLD:
        lasting_sync(number)
    elif next(counted) == NUMBER:
        consumer.stop_flag.set()


class Huey:
    def open(self) -> None: ...

    def register(self, numbers) -> None:
        for number in numbers:
            work(number, text(number))

    def serve(self, count) -> None:
        consumer.run()

    def close(self) -> None: ...


run(Huey())
