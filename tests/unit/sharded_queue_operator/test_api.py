from typing import Any

import pytest
import yaml

from sharded_queue_operator.cluster.api import as_yaml, is_newer


@pytest.mark.parametrize(
    "text", ["\U0001f6d1", "\\ud83d\\uded1", "\\\U0001f6d1", "\x00\x7f\x85\u2028\ufeff\ufffe", "é"]
)
def test_every_character_can_be_applied(text: str) -> None:
    """Characters beyond U+FFFF once made the server refuse a whole Deployment as invalid YAML."""
    manifest = {"env": [{"name": text, "value": text}]}

    assert yaml.safe_load(as_yaml(manifest)) == manifest


def test_versions_show_which_news_is_newer() -> None:
    def body(version: str) -> dict[str, Any]:
        return {"metadata": {"resourceVersion": version}}

    assert is_newer(body("10"), body("9"))
    assert not is_newer(body("9"), body("10"))
    assert is_newer(body("10"), body("10"))
