"""rq: a SimpleWorker, which forks no process for each job and keeps no results; by default, the worker that forks."""

from redis import Redis
from rq import Queue, SimpleWorker, Worker
from rq_job import told, work
from timing import HOW, IS_TOLD, PORT, run, text

JOB = told if IS_TOLD else work
OPTIONS = {} if HOW == "default" else {"result_ttl": 0}


class Rq:
    def __init__(self) -> None:
        self.redis = Redis(port=PORT)
        self.queue = Queue(connection=self.redis)

    def open(self) -> None: ...

    def register(self, numbers) -> None:
        if HOW == "best":
            self.queue.enqueue_many([Queue.prepare_data(JOB, (each, text(each)), **OPTIONS) for each in numbers])
            return
        for number in numbers:
            self.queue.enqueue(JOB, number, text(number), **OPTIONS)

    def serve(self, count) -> None:
        worker = (Worker if HOW == "default" else SimpleWorker)([self.queue], connection=self.redis)
        worker.work(burst=count is not None, logging_level="ERROR")
        assert self.queue.count == 0

    def close(self) -> None: ...


run(Rq())
