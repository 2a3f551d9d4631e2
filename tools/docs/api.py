"""The reference of the library, from its docstrings: what it lists, and what may not be missing from it."""

import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from sphinx.pycode import ModuleAnalyzer

from sharded_queue.sync import Blocking
from sharded_queue.worker import binder, lane

GROUPS = {
    "Handlers": ["Handler", "Retry", "GiveUp", "Snooze", "Route", "KeyRoute", "current", "Context"],
    "Registering": ["Queue", "SyncQueue", "Receipt"],
    "Serving": ["Worker", "Middleware", "shared", "Lease", "Tube"],
    "Administration": ["Admin", "SyncAdmin"],
    "Redis and memory": [
        "connect",
        "RedisOptions",
        "RedisStorage",
        "RedisCoordinator",
        "RuntimeStorage",
        "RuntimeCoordinator",
        "Storage",
        "Coordinator",
    ],
    "Errors": [
        "ShardedQueueError",
        "HandlerError",
        "HandlerNotFound",
        "LeaseLost",
        "NotPossible",
        "QueueFull",
        "ReshardError",
        "RouteError",
        "SerializationError",
        "SettingsError",
        "StorageUnavailable",
    ],
}
ELSEWHERE = {"settings"}
"""Public names that have a page of their own."""

FOR_PARTS = {name for host in (binder.Host, lane.Host) for name in vars(host) if not name.startswith("_")}
"""What the parts of a worker call of it, and users do not."""


def reference() -> str:
    """
    A section for each group of public names, one for `sharded_queue.testing`, and one for each module of values.

    Raises:
        ValueError: a public name is in no group, or a public name or method has no docstring.
    """
    grouped = {name for names in GROUPS.values() for name in names} | ELSEWHERE
    if difference := grouped ^ set(LIBRARY.__all__):
        raise ValueError(f"tools/docs/api.py groups other names than sharded_queue has: {sorted(difference)}")
    others = {TESTING: public_names(TESTING)} | {module: values_of(module) for module in VALUES}
    if missing := [
        name for module, names in {LIBRARY: LIBRARY.__all__, **others}.items() for name in undocumented(module, names)
    ]:
        raise ValueError(f"without a docstring: {missing}")
    sections = [section(heading, LIBRARY, names) for heading, names in GROUPS.items()]
    return "\n".join([*sections, *(section(f"`{module.__name__}`", module, names) for module, names in others.items())])


def values_of(module: ModuleType) -> list[str]:
    return [
        name for name in public_names(module) if inspect.isclass(getattr(module, name)) and name not in LIBRARY.__all__
    ]


def public_names(module: ModuleType) -> list[str]:
    """The classes and functions that *module* defines itself, in the order of the file."""
    return [name for name, value in vars(module).items() if is_public(name) and is_of(module, value)]


def is_public(name: str) -> bool:
    return not name.startswith("_")


def is_of(module: ModuleType, value: Any) -> bool:
    return (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__


def undocumented(module: ModuleType, names: list[str]) -> Iterator[str]:
    for name in names:
        value = getattr(module, name)
        if name not in ELSEWHERE and not own_docstring(value):
            yield f"{module.__name__}.{name}"
        if inspect.isclass(value):
            yield from (f"{module.__name__}.{name}.{method}" for method in undocumented_methods(value))


def undocumented_methods(owner: type) -> Iterator[str]:
    """A method that overrides another may inherit its docstring."""
    for name in methods_of(owner):
        if not inspect.getdoc(getattr(owner, name)):
            yield name


def methods_of(owner: type) -> list[str]:
    """The methods and properties that *owner* adds to its base classes in the library."""
    hidden = FOR_PARTS if owner is LIBRARY.Worker else ()
    inherited = {
        name
        for base in owner.__mro__[1:]
        if base.__module__.startswith(LIBRARY.__name__) and base is not Blocking
        for name in vars(base)
    }
    members = {**vars(owner), **(vars(Blocking) if issubclass(owner, Blocking) else {})}
    own = (name for name, value in members.items() if is_public(name) and is_callable(value))
    return [name for name in own if name not in hidden and name not in inherited]


def is_callable(value: Any) -> bool:
    return inspect.isfunction(value) or isinstance(value, classmethod | staticmethod | property)


def own_docstring(value: Any) -> str:
    """Not the one that dataclasses and NamedTuples make up: it only repeats the signature."""
    docstring = (value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__) or ""
    return "" if docstring.startswith(f"{value.__name__}(") else docstring


def section(heading: str, module: ModuleType, names: list[str]) -> str:
    directives = "\n".join(directive(module, name) for name in names)
    return f"## {heading}\n\n```{{eval-rst}}\n{directives}\n```\n"


def directive(module: ModuleType, name: str) -> str:
    value = getattr(module, name)
    if inspect.isfunction(value):
        return f".. autofunction:: {module.__name__}.{name}\n"
    shown = [*described_fields(value), *methods_of(value)]
    members = f"   :members: {', '.join(shown)}\n" if shown else ""
    bases = "" if value.__bases__ in ((object,), (Blocking,)) else "   :show-inheritance:\n"
    return f".. autoclass:: {module.__name__}.{name}\n{members}{bases}"


def described_fields(owner: type) -> list[str]:
    """Its attributes that have a docstring; the others are in its signature."""
    described = ModuleAnalyzer.for_module(owner.__module__).find_attr_docs()
    return [name for scope, name in described if scope == owner.__qualname__ and is_public(name)]


def links(owner: str) -> dict[str, str]:
    """What code in a docstring of *owner* may mean, with its full name: public names and their methods."""
    found = {name: f"{LIBRARY.__name__}.{name}" for name in LIBRARY.__all__ if name not in ELSEWHERE}
    found |= {name: f"{TESTING.__name__}.{name}" for name in public_names(TESTING)}
    methods = {f"{name}.{method}": f"{full}.{method}" for name, full in found.items() for method in methods_named(full)}
    own = {method: f"{owner}.{method}" for method in methods_named(owner)}
    return found | methods | own


def methods_named(full: str) -> list[str]:
    module, _, name = full.rpartition(".")
    owner = getattr(sys.modules.get(module), name, None)
    return methods_of(owner) if inspect.isclass(owner) else []


LIBRARY, TESTING = (import_module(name) for name in ("sharded_queue", "sharded_queue.testing"))
VALUES = [
    import_module(f"{LIBRARY.__name__}.{name}")
    for name in ("queue.receipts", "tube", "timing", "state", "storage", "coordinator")
]
"""The modules of what public methods take and return."""
