"""
The rival: replicas by the number of messages, as KEDA and the HorizontalPodAutoscaler of Kubernetes find it.

KEDA looks at the queue each `polling_seconds`. It sets 0 → 1 when there is a message, and → 0 when there was none for
`cooldown_seconds`. In between, the HPA asks for `ceil(messages / threshold)` each `sync_seconds`, changes nothing
within a tolerance, rises in bounded steps, and falls to the highest wish of a window.
"""

from dataclasses import dataclass, replace
from math import ceil

from bench.simulation.timeline import us
from bench.simulation.world import World
from sharded_queue_operator.scaling.surplus import Candidate, Cordons, Removal, choose_surplus


@dataclass(frozen=True, slots=True)
class Settings:
    """The defaults of KEDA and of Kubernetes, except *threshold* and *max_replicas*."""

    threshold: int = 10
    """Messages per pod: `listLength`."""
    max_replicas: int = 20
    polling_seconds: float = 30.0
    cooldown_seconds: float = 300.0
    sync_seconds: float = 15.0
    """A flag of the controller manager, which users of a cluster cannot set."""
    tolerance: float = 0.1
    stabilization_seconds: float = 300.0
    is_stepwise: bool = True
    """True: rise by at most 4 pods or 100 % per sync, whichever is more. False: rise without a limit."""


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """The state of the HPA between two syncs."""

    settings: Settings
    wishes: tuple[tuple[float, int], ...] = ()

    def synced(self, messages: int, replicas: int, now: float) -> tuple["Autoscaler", int]:
        """The replicas after a sync, and the autoscaler with its new state. It does nothing at 0 replicas."""
        if replicas == 0:
            return self, 0
        wish = max(1, min(self.recommended(messages, replicas), self.settings.max_replicas))
        since = now - self.settings.stabilization_seconds
        wishes = (*((at, count) for at, count in self.wishes if at > since), (now, wish))
        highest = max(count for _, count in wishes)
        target = min(wish, self.limit(replicas)) if wish > replicas else min(replicas, highest)
        return replace(self, wishes=wishes), target

    def recommended(self, messages: int, replicas: int) -> int:
        ratio = messages / (self.settings.threshold * replicas)
        is_tolerable = abs(1 - ratio) <= self.settings.tolerance
        return replicas if is_tolerable else ceil(messages / self.settings.threshold)

    def limit(self, replicas: int) -> int:
        """The most replicas after one sync. The period of the policies equals that of the syncs."""
        return max(replicas + 4, 2 * replicas) if self.settings.is_stepwise else self.settings.max_replicas


class MessageCount:
    """KEDA and the HPA in a world. *phase*, from 0 to 1: their position in their periods when the world begins."""

    def __init__(self, settings: Settings, phase: float) -> None:
        self.settings, self.phase = settings, phase
        self.autoscaler = Autoscaler(settings)
        self.active_at = float("-inf")

    def attend(self, world: World) -> None:
        poll, sync = us(self.settings.polling_seconds), us(self.settings.sync_seconds)
        world.timeline.every(poll, lambda: self.poll(world), first=round(self.phase * poll))
        world.timeline.every(sync, lambda: self.sync(world), first=round(self.phase * sync))

    def poll(self, world: World) -> None:
        now = world.timeline.seconds
        if world.depth:
            self.active_at = now
            if world.wanted == 0:
                world.scale(1, newest)
        elif world.wanted and now >= self.active_at + self.settings.cooldown_seconds:
            world.scale(0, newest)

    def sync(self, world: World) -> None:
        self.autoscaler, replicas = self.autoscaler.synced(world.depth, world.wanted, world.timeline.seconds)
        if replicas != world.wanted:
            world.scale(replicas, newest)


def newest(world: World, replicas: int) -> set[str]:
    """The pods that a ReplicaSet removes without deletion costs: those that are not ready, then the newest."""
    pods = [Candidate(pod.name, progress=3 if pod.is_up else 2, created=pod.name) for pod in world.staying]
    return choose_surplus(pods, replicas, Cordons(), Removal.CHOSEN)
