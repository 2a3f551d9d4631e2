"""The reference of the settings, from the classes that declare them."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings
from sphinx.pycode import ModuleAnalyzer

BOUNDS = {"ge": "from", "gt": "above", "le": "to", "lt": "below", "max_length": "at most"}
KINDS = {float: "seconds", int: "whole number", str: "text", SecretStr: "text, never shown"}
"""Every number with a fraction is a duration; a test holds that its meaning says so."""


def reference(settings: type[BaseSettings]) -> str:
    """
    A heading for each setting, the name of its variable, with its kind, default and bounds, and its meaning.

    Raises:
        ValueError: a setting has no docstring.
    """
    meanings = ModuleAnalyzer.for_module(settings.__module__).find_attr_docs()
    prefix = settings.model_config["env_prefix"]
    return "\n".join(
        entry(f"{prefix}{name}".upper(), field, meanings.get((settings.__name__, name), []))
        for name, field in sorted(settings.model_fields.items())
    )


def entry(variable: str, field: FieldInfo, meaning: list[str]) -> str:
    if not meaning:
        raise ValueError(f"the setting {variable} has no docstring")
    facts = " · ".join([kind(field), f"default: {default(field)}", *bounds(field)])
    text = "\n".join(meaning).strip()
    return f"## `{variable}`\n\n*{facts}*\n\n{text}\n"


def kind(field: FieldInfo) -> str:
    if field.annotation == tuple[str, ...]:
        return "texts, separated by commas"
    parts: tuple[Any, ...] = get_args(field.annotation) or (field.annotation,)
    words = [f"`{part}`" if isinstance(part, str) else KINDS.get(part) for part in parts]
    return " or ".join(filter(None, words))


def default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "the name of the host"
    value = ",".join(field.default) if isinstance(field.default, tuple) else field.default
    if value is None or value == "":
        return "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def bounds(field: FieldInfo) -> Iterator[str]:
    found = {name: getattr(bound, name) for bound in field.metadata for name in BOUNDS if hasattr(bound, name)}
    if found:
        yield " ".join(f"{BOUNDS[name]} {value:,}" for name, value in found.items())
