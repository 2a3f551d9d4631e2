"""Handlers that more than one resource names: each of these would scale its workers by the same requests."""

from collections.abc import Iterator

from sharded_queue_operator.polling.connection import RedisTarget
from sharded_queue_operator.resource.conditions import SHARED_HANDLERS, Condition
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import Resource

Key = tuple[frozenset[str], str, str]
"""Addresses of a Redis, prefix of its keys, name of a handler."""


class Sharing:
    def __init__(self) -> None:
        self._named: dict[Key, set[Name]] = {}

    def claim(self, resource: Resource) -> set[Name]:
        """
        Note which handlers a resource names, in place of the ones that it named before; the resources whose conditions
        may change by that.
        """
        others = self.forget(resource.name)
        for key in _keys_of(resource):
            names = self._named.setdefault(key, set())
            names.add(resource.name)
            others |= _concerned(names, resource.name)
        return others

    def forget(self, name: Name) -> set[Name]:
        """The resources whose conditions may change by that."""
        others: set[Name] = set()
        for key in [key for key, names in self._named.items() if name in names]:
            others |= _concerned(self._named[key], name)
            self._named[key].discard(name)
            if not self._named[key]:
                del self._named[key]
        return others

    def condition(self, resource: Resource) -> Condition:
        for key in _keys_of(resource):
            if others := self._named.get(key, set()) - {resource.name}:
                other = _description(min(others), resource.name)
                message = f"handler {key[2]} is scaled by {other} too; name it in one of them"
                return Condition(SHARED_HANDLERS, "True", "NamedTwice", message)
        return Condition(SHARED_HANDLERS, "False", "NamedOnce", "no other ShardedQueue names one of these handlers")


def _concerned(names: set[Name], name: Name) -> set[Name]:
    """Those that name *name*: each condition names the first of the others."""
    first = min(names)
    return names - {name} if name == first else {first}


def _keys_of(resource: Resource) -> Iterator[Key]:
    redis = resource.spec.redis
    addresses = frozenset(RedisTarget.of(resource).redis.addresses)
    return ((addresses, redis.key_prefix, handler.name) for handler in resource.spec.handlers)


def _description(other: Name, ours: Name) -> str:
    """A resource of another namespace is not named: it may be another tenant's."""
    same = other.namespace == ours.namespace
    return f"the ShardedQueue {other.name}" if same else "a ShardedQueue of another namespace"
