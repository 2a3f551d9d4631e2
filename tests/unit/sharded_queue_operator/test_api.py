import pytest
import yaml

from sharded_queue_operator.cluster.api import as_yaml


@pytest.mark.parametrize(
    "text", ["\U0001f6d1", "\\ud83d\\uded1", "\\\U0001f6d1", "\x00\x7f\x85\u2028\ufeff\ufffe", "é"]
)
def test_every_letter_can_be_applied(text: str) -> None:
    """The letters beyond U+FFFF once made the server refuse a whole Deployment as no YAML."""
    manifest = {"env": [{"name": text, "value": text}]}

    assert yaml.safe_load(as_yaml(manifest)) == manifest
