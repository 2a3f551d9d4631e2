"""The reference of the settings, from the classes that declare them."""

import socket
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings
from sphinx.pycode import ModuleAnalyzer

from sharded_queue.settings import ENV_PREFIX, FIELDS, Field, Secret, Settings

BOUNDS = {"ge": "from", "gt": "above", "le": "to", "lt": "below", "max_length": "at most"}
KINDS = {float: "seconds", int: "whole number", str: "text", Secret: "text, never shown"}
"""Every number with a fraction is a duration; a test holds that its meaning says so."""


def reference(settings: type[Settings] | type[BaseSettings]) -> str:
    """
    A heading for each setting, the name of its variable, with its kind, default and bounds, and its meaning.

    Raises:
        ValueError: a setting has no docstring.
    """
    meanings = ModuleAnalyzer.for_module(settings.__module__).find_attr_docs()
    prefix, fields = declared(settings)
    return "\n".join(
        entry(f"{prefix}{name}".upper(), field, meanings.get((settings.__name__, name), []))
        for name, field in sorted(fields.items())
    )


def declared(settings: type[Settings] | type[BaseSettings]) -> tuple[str, dict[str, Field]]:
    """The prefix of the variables, and the fields: those of the operator are pydantic's."""
    if issubclass(settings, BaseSettings):
        fields = {name: of_pydantic(name, field) for name, field in settings.model_fields.items()}
        return settings.model_config["env_prefix"], fields
    return ENV_PREFIX, FIELDS


def of_pydantic(name: str, field: FieldInfo) -> Field:
    annotation: Any = field.annotation
    for bound in field.metadata:
        annotation = Annotated[annotation, bound]
    return Field(name, annotation, field.get_default(call_default_factory=True))


def entry(variable: str, field: Field, meaning: list[str]) -> str:
    if not meaning:
        raise ValueError(f"the setting {variable} has no docstring")
    facts = " · ".join([kind(field), f"default: {default(field)}", *bounds(field)])
    text = "\n".join(meaning).strip()
    return f"## `{variable}`\n\n*{facts}*\n\n{text}\n"


def kind(field: Field) -> str:
    if field.kinds == (tuple[str, ...],):
        return "texts, separated by commas"
    words = [f"`{choice}`" for choice in field.choices] or [KINDS[each] for each in field.kinds if each in KINDS]
    return " or ".join(words)


def default(field: Field) -> str:
    value = ",".join(field.default) if isinstance(field.default, tuple) else field.default
    if value is None or value == "":
        return "none"
    if value == socket.gethostname():
        return "the name of the host"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def bounds(field: Field) -> Iterator[str]:
    found = {name: limit for name, limit in field.bounds.items() if name in BOUNDS}
    if found:
        yield " ".join(f"{BOUNDS[name]} {limit:,}" for name, limit in found.items())
