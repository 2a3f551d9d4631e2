"""What is made from code: each mark in a page, and the text that takes its place in the site."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import yaml

from sharded_queue.settings import Settings
from sharded_queue_operator.settings import Settings as OperatorSettings
from tools.docs import answers, api, resource, settings

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"^<!-- made from code: ([\w ]+) -->$", re.MULTILINE)

MADE: dict[str, Callable[[], str]] = {
    "the library": api.reference,
    "settings": lambda: settings.reference(Settings),
    "settings of the operator": lambda: settings.reference(OperatorSettings),
    "the resource": lambda: resource.reference(yaml.safe_load((ROOT / "crds" / "shardedqueues.yaml").read_text())),
    "answers": lambda: answers.reference(json.loads((ROOT / "docs" / "cli.schema.json").read_text())),
    "commands": lambda: (
        "```{eval-rst}\n.. click:: sharded_queue.cli.program:main\n   :prog: sharded-queue\n   :nested: full\n```"
    ),
}


def filled(page: str) -> str:
    """*page* with what its marks stand for."""
    return MARK.sub(lambda mark: MADE[mark[1]](), page)
