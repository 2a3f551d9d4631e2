"""huey: one OS thread, and a task with one retry."""

from failing import DELAY, JOBS, PORT, note
from huey import RedisHuey
from huey.consumer import Consumer

huey = RedisHuey("failing", port=PORT, results=False)


@huey.task(retries=1, retry_delay=DELAY)
def work(number: int) -> None:
    if note(number):
        raise ValueError("the first try")


for number in JOBS:
    work(number)
Consumer(huey, workers=1, worker_type="thread").run()
