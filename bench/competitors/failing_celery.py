"""Celery on Redis: one worker of concurrency 1, late acknowledgement, and a task that retries itself."""

from celery import Celery
from failing import DELAY, JOBS, PORT, note

app = Celery("failing", broker=f"redis://127.0.0.1:{PORT}/0")


@app.task(bind=True, acks_late=True)
def work(self, number: int) -> None:
    if note(number):
        raise self.retry(countdown=DELAY)


for number in JOBS:
    work.apply_async((number,))
app.worker_main(["worker", "--concurrency=1", "--pool=solo", "--loglevel=CRITICAL"])
