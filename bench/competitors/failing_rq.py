"""rq: one job of the key at a time by `RateLimit`; its worker with the scheduler, which moves delayed retries."""

from failing import DELAY, FAILS, JOBS, PORT
from failing_rq_job import work
from redis import Redis
from rq import Queue, RateLimit, Retry, SimpleWorker

redis = Redis(port=PORT)
queue = Queue(connection=redis)
for number in JOBS:
    retry = Retry(max=1, interval=DELAY) if FAILS else None
    queue.enqueue(work, number, rate_limit=RateLimit("key", 1), retry=retry)
SimpleWorker([queue], connection=redis).work(logging_level="CRITICAL", with_scheduler=True)
