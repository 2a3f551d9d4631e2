"""The specs of the fuzz (tests/operator_api/test_fuzz.py), without an API server."""

from itertools import islice
from random import Random

import pytest

from sharded_queue_operator.cluster.drift import digest, part_of
from sharded_queue_operator.errors import BadSpec
from sharded_queue_operator.resource.deployment import Manifest, deployment
from sharded_queue_operator.resource.spec import parsed
from tests.conftest import MODEL_SEED
from tests.operator_api.specs import SERVED, World, drafts, reading_deeply

pytestmark = pytest.mark.slow

NUMBER = 5_000
WORLD = World("redis:6379", ("nobody.invalid:6379", "127.0.0.1:65536"), ("text",), ("mine",))


def test_every_spec_becomes_a_manifest_or_a_sentence() -> None:
    """What raises anything else ends in a log of the operator, where its author does not look."""
    with reading_deeply():
        found = [(draft, complaint(draft.manifest)) for draft in islice(drafts(Random(MODEL_SEED), WORLD), NUMBER)]

    assert [(draft, sentence) for draft, sentence in found if draft.ends == SERVED and sentence] == [], (
        f"MODEL_SEED={MODEL_SEED}"
    )
    assert NUMBER / 4 < sum(sentence is None for _, sentence in found) < NUMBER * 3 / 4


def complaint(body: Manifest) -> str | None:
    try:
        resource = parsed(body)
        if resource.spec.worker:
            manifest = deployment(resource, 1)
            assert digest(part_of(manifest, manifest)) == digest(manifest)
    except BadSpec as error:
        return str(error)
    return None
