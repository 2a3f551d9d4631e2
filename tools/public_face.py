"""
The public face, a line each: what a user may import, set, and type. `make public-face` records it.

Annotations are left out, because each Python spells them in its own way; type checkers hold them.
"""

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

import click

import sharded_queue
from sharded_queue.cli.program import OWN, loaded
from sharded_queue.settings import FIELDS, Settings

RECORDED = Path(__file__).parents[1] / "tests" / "unit" / "public_face.txt"
MODULES = ("sharded_queue", "sharded_queue.testing")
"""From where users import. All other modules are free to change."""
INNER = ("Storage", "Coordinator")
"""Users make these and pass them on; their methods are between a backend and the library, and change with it."""
SHOWN = {"Worker": {"abort", "loop", "run", "stop"}}
"""What a user calls, of a class with more for other parts of the library."""


def main() -> None:
    RECORDED.write_text(public_face())


def public_face() -> str:
    lines = [*_names(), *_settings(), *_commands()]
    return "".join(f"{line}\n" for line in lines)


def _names() -> Iterator[str]:
    for module_name in MODULES:
        module = import_module(module_name)
        for name in _public_names(module):
            yield from _described(f"{module_name}.{name}", getattr(module, name))


def _public_names(module: Any) -> list[str]:
    names = getattr(module, "__all__", None)
    if names:
        return sorted(names)
    return sorted(name for name, value in vars(module).items() if _is_of(value, module.__name__) and name[0] != "_")


def _is_of(value: Any, module: str) -> bool:
    return isinstance(value, type | FunctionType) and value.__module__ == module


def _described(path: str, value: Any) -> Iterator[str]:
    if not isinstance(value, type):
        yield f"{path}{_signature(value)}" if callable(value) else path
        return
    yield f"{path}{_signature(value)}"
    if value.__name__.endswith(INNER):
        return
    for name in sorted(SHOWN.get(value.__name__) or _members(value)):
        member = inspect.getattr_static(value, name, None)
        function = getattr(member, "__func__", member)
        yield f"{path}.{name}{_signature(function) if isinstance(function, FunctionType) else ''}"


def _members(kind: type) -> set[str]:
    """Attributes and methods of a class that come from us."""
    ours = [base for base in kind.__mro__ if base.__module__.startswith(sharded_queue.__name__)]
    return {name for base in ours for name in (*vars(base), *base.__annotations__) if not name.startswith("_")}


def _signature(value: Any) -> str:
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return ""
    plain = [each.replace(annotation=each.empty) for each in parameters]
    return str(inspect.Signature([each.replace(default=_default(each)) for each in plain]))


class _Default:
    """A default by its text, without the address of an object."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "…" if " at 0x" in repr(self.value) or isinstance(self.value, Settings) else repr(self.value)


def _default(parameter: inspect.Parameter) -> Any:
    return parameter.empty if parameter.default is parameter.empty else _Default(parameter.default)


def _settings() -> Iterator[str]:
    for name, field in sorted(FIELDS.items()):
        default = "…" if name == "worker_name" else field.default
        yield f"QUEUE_{name.upper()}={default!r}"


def _commands() -> Iterator[str]:
    for name, point in sorted(OWN.items()):
        yield from _typed(f"sharded-queue {name}", loaded(point))


def _typed(words: str, command: click.Command) -> Iterator[str]:
    options = [option for each in command.params for option in _spelled(each)]
    yield f"{words} {' '.join(options)}".strip()
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            yield from _typed(f"{words} {name}", inner)


def _spelled(parameter: click.Parameter) -> list[str]:
    if isinstance(parameter, click.Argument):
        many = "…" if parameter.nargs != 1 else ""
        name = f"{(parameter.name or '').upper()}{many}"
        return [name if parameter.required else f"[{name}]"]
    return [name for name in parameter.opts if name.startswith("--")]


if __name__ == "__main__":
    main()
