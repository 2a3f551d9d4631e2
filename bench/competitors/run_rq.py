"""rq: one queue, one SimpleWorker, which forks no process for each job."""

from redis import Redis
from rq import Queue, SimpleWorker
from rq_job import work
from timing import TEXT, Clock, arguments, report


def main() -> None:
    port, count, _ = arguments()
    redis = Redis(port=port)
    queue = Queue(connection=redis)
    clock = Clock(count)
    queue.enqueue_many([Queue.prepare_data(work, (number, TEXT), result_ttl=0) for number in range(count)])
    registered = clock.lap()
    SimpleWorker([queue], connection=redis).work(burst=True, logging_level="ERROR")
    handled = clock.lap()
    assert queue.count == 0
    report(registered, handled)


main()
