"""
Threads with requests, and the pods that handle them, as the engine does it: a thread has one worker at a time, the one
that waited longest is bound first, requests are handled in batches, a thread's turn ends when others wait.

Left out, because no workload here would show it: failures, priorities, and that a worker lingers with a drained thread.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from bench.simulation.timeline import Timeline, us

TURN = us(30)
"""`settings.worker_turn`."""

GRACE = us(30)
"""`settings.worker_drain`: what a stopped worker still has in hand by then is cut, and begins anew elsewhere."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Times of each step in seconds, the same for every rule."""

    request: float = 0.02
    """Time of one request in the handler."""

    bind: float = 0.002
    """Time to bind a thread: one script of Redis, and the handler's `start`."""

    start: float = 0.75
    """Time from the patch of the replicas to a worker that looks for threads, when it starts alone."""

    start_cpu: float = 0.12
    """The part of *start* in which the worker computes: Python, and its imports."""

    cores: int = 2
    """Processors of the node, which the pods that start at the same time share."""

    batch: int = 128
    """Requests in one call of the handler, `settings.worker_batch_size`."""

    def start_of(self, pods: int) -> float:
        """The time until the last of *pods* that start together looks for threads."""
        return self.start + self.start_cpu * max(0.0, pods / self.cores - 1)


MEASURED = Costs()
"""The figures of docs/scaling-in-depth.md, measured on a node of this project."""


@dataclass(slots=True)
class Thread:
    """*refill*: each handled request is followed by a new one, so that the thread is never empty."""

    name: str
    refill: bool = False
    arrivals: deque[tuple[int, int]] = field(default_factory=deque)
    """The time and the number of requests of each registration that still waits, oldest first."""
    lines_up_at: int = 0
    """Its place among the waiting threads: when its oldest request came, or when its last turn was over."""
    holder: "Pod | None" = None
    held_since: int = 0
    fence: int = 0
    in_hand: int = 0
    """Requests that its worker's handler has."""
    registered_at: int = 0
    bound_at: int | None = None
    """When a worker held it for the first time."""
    drained_at: int | None = None

    @property
    def depth(self) -> int:
        return sum(count for _, count in self.arrivals)

    @property
    def oldest(self) -> int:
        return self.arrivals[0][0]

    def take(self, count: int) -> list[tuple[int, int]]:
        """The times and numbers of registrations that the first *count* requests belong to."""
        taken = []
        while count:
            at, waiting = self.arrivals.popleft()
            if waiting > count:
                self.arrivals.appendleft((at, waiting - count))
            taken.append((at, min(count, waiting)))
            count -= taken[-1][1]
        return taken


@dataclass(slots=True)
class Pod:
    name: str
    created_at: int
    is_up: bool = False
    is_leaving: bool = False
    is_cordoned: bool = False
    """It takes no thread, and hands its own over after the batch."""
    threads: dict[str, Thread] = field(default_factory=dict)


Choice = Callable[["World", int], set[str]]
"""Names of the pods to remove, so that the given number stays."""


@dataclass(slots=True)
class World:
    timeline: Timeline
    costs: Costs = MEASURED
    lanes: int = 1
    """Threads that a pod holds at a time."""
    threads: dict[str, Thread] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    wanted: int = 0
    """Replicas in the specification."""
    registered: int = 0
    settled: int = 0
    busy: int = 0
    """Microseconds in the handler, for settled requests."""
    cut: int = 0
    """Requests in hand that were begun in vain."""
    lags: list[tuple[float, int]] = field(default_factory=list)
    """Seconds from its registration until a request was handled, and the number of such requests."""
    writes: int = 0
    """Of the replicas."""
    created: int = 0
    first_up_at: int = 0
    """When the first worker looked for threads."""
    waiting: dict[str, Thread] = field(default_factory=dict)
    """Threads with requests that no worker holds."""
    replicas: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])
    """Number of pods that run or start, from each moment on at which it changed."""
    arrived: Callable[[], None] = lambda: None
    """Called when an empty queue gets a request."""

    @property
    def depth(self) -> int:
        return self.registered - self.settled

    @property
    def ready(self) -> list[Thread]:
        return list(self.waiting.values())

    # Requests

    def register(self, depths: Mapping[str, int], *, refill: bool = False) -> None:
        """Register all at once, as one call of `register` does."""
        was_empty = self.depth == 0
        for name, count in depths.items():
            self.put(self.threads.setdefault(name, Thread(name, refill, registered_at=self.timeline.now)), count)
        if was_empty and self.depth:
            self.arrived()
        self.serve()

    def put(self, thread: Thread, count: int) -> None:
        thread.arrivals.append((self.timeline.now, count))
        if thread.holder is None:
            thread.lines_up_at = thread.oldest
            self.waiting[thread.name] = thread
        self.registered += count

    # Pods

    def scale(self, replicas: int, going: Choice) -> None:
        """Set the replicas. *going* chooses the pods to remove if there are fewer."""
        self.wanted = replicas
        self.writes += 1
        for name in going(self, replicas):
            self.dismiss(self.pods[name])
        self.create(replicas - len(self.staying))
        self.note()

    @property
    def staying(self) -> list[Pod]:
        return [pod for pod in self.pods.values() if not pod.is_leaving]

    def create(self, count: int) -> None:
        """Each new pod shares the processors with all that are starting."""
        starting = sum(not pod.is_up for pod in self.pods.values())
        for _ in range(count):
            self.created += 1
            pod = Pod(f"pod-{self.created:04d}", self.timeline.now)
            self.pods[pod.name] = pod
            self.timeline.after(us(self.costs.start_of(starting + count)), lambda pod=pod: self.come_up(pod))  # type: ignore[misc]

    def come_up(self, pod: Pod) -> None:
        if pod.name in self.pods:
            pod.is_up = True
            self.first_up_at = self.first_up_at or self.timeline.now
            self.serve()

    def dismiss(self, pod: Pod) -> None:
        """A pod finishes its batches first, within the grace. A pod without a thread is gone at once."""
        pod.is_leaving = True
        if pod.threads:
            self.timeline.after(GRACE, lambda: self.kill(pod))
        else:
            self.end(pod)

    def kill(self, pod: Pod) -> None:
        for thread in list(pod.threads.values()):
            self.cut += thread.in_hand
            self.release(pod, thread)

    def cordon(self, names: set[str]) -> None:
        """Let just these pods take no threads."""
        for pod in self.pods.values():
            pod.is_cordoned = pod.name in names
        self.serve()

    def end(self, pod: Pod) -> None:
        del self.pods[pod.name]
        self.note()

    def note(self) -> None:
        if self.replicas[-1][1] != len(self.pods):
            self.replicas.append((self.timeline.now, len(self.pods)))

    # Work

    def serve(self) -> None:
        """Idle workers take the threads that have waited longest."""
        if not self.waiting:
            return
        ready = sorted(self.ready, key=lambda thread: (thread.lines_up_at, thread.name))
        for pod, thread in zip(self.free_lanes(), ready, strict=False):
            self.bind(pod, thread)

    def free_lanes(self) -> list[Pod]:
        """A pod for each of its free lanes; those of pods that hold few threads first."""
        open_pods = [pod for pod in self.staying if pod.is_up and not pod.is_cordoned]
        ranked = [(place, pod) for pod in open_pods for place in range(len(pod.threads), self.lanes)]
        return [pod for _, pod in sorted(ranked, key=lambda lane: lane[0])]

    def bind(self, pod: Pod, thread: Thread) -> None:
        if thread.holder is not None or len(pod.threads) >= self.lanes:
            raise RuntimeError(f"{pod.name} binds {thread.name}, but {thread.holder or pod.threads} is in the way")
        del self.waiting[thread.name]
        pod.threads[thread.name] = thread
        thread.holder, thread.held_since = pod, self.timeline.now
        thread.fence += 1
        thread.bound_at = self.timeline.now if thread.bound_at is None else thread.bound_at
        self.handle(pod, thread, us(self.costs.bind))

    def handle(self, pod: Pod, thread: Thread, delay: int = 0) -> None:
        count = thread.in_hand = min(self.costs.batch, thread.depth)
        fence = thread.fence
        self.timeline.after(delay + count * us(self.costs.request), lambda: self.settle(pod, thread, count, fence))

    def settle(self, pod: Pod, thread: Thread, count: int, fence: int) -> None:
        if thread.holder is not pod or thread.fence != fence:
            return  # the batch was cut
        self.lags += [((self.timeline.now - at) / 1e6, taken) for at, taken in thread.take(count)]
        self.settled += count
        self.busy += count * us(self.costs.request)
        if thread.refill:
            self.put(thread, count)
        if thread.depth == 0:
            thread.drained_at = self.timeline.now
        if thread.depth and not pod.is_leaving and not pod.is_cordoned and not self.is_over(thread):
            self.handle(pod, thread)
        else:
            self.release(pod, thread)

    def is_over(self, thread: Thread) -> bool:
        """Whether a thread has had its turn, so that it queues behind those that wait."""
        return self.timeline.now - thread.held_since > TURN and bool(self.ready)

    def release(self, pod: Pod, thread: Thread) -> None:
        if thread.depth:
            thread.lines_up_at = self.timeline.now if self.is_over(thread) else thread.oldest
            self.waiting[thread.name] = thread
        del pod.threads[thread.name]
        thread.holder, thread.in_hand = None, 0
        if pod.is_leaving and not pod.threads:
            self.end(pod)
        self.serve()

    # The account

    def pod_seconds(self, until: int) -> float:
        """Of all pods from their creation to their end, up to the moment *until*."""
        steps = [*(step for step in self.replicas if step[0] < until), (until, 0)]
        return sum((end - begin) * count for (begin, count), (end, _) in pairwise(steps)) / 1e6
