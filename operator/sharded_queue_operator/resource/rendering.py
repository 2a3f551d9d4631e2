"""
The pod template that an operator made of a spec, written down on the Deployment. Pure.

Another release of the operator may make another template of the same spec. What is written down tells such a change
from one that the user asked for, and gives the present template for as long as the other one waits for its turn.
"""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import MsgspecError, Struct, json

from sharded_queue.release import release
from sharded_queue_operator.resource.deployment import Manifest
from sharded_queue_operator.resource.spec import GROUP, Resource

RENDERED = f"{GROUP}/rendered"
"""Annotation of a Deployment: what an operator made of the spec, as JSON."""

LONGEST_ANNOTATION = 100_000
"""Characters. The API server takes 256 KiB of annotations; the template of a longer one is left out."""

RELEASE = release()


class Rendering(Struct, frozen=True):
    """*asked*: digest of what the user asked for at *generation*. *in_turn*: the change waited for its turn."""

    template: dict[str, Any] | None
    asked: str
    generation: int
    release: str
    in_turn: bool = False

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Rendering | None":
        """What is written down on a Deployment; None where nothing is, or nothing that can be read."""
        text = (body["metadata"].get("annotations") or {}).get(RENDERED, "")
        try:
            return json.decode(text, type=cls)
        except MsgspecError:
            return None

    def is_asked_by(self, resource: Resource) -> bool:
        """
        Whether the user still asks for the same. The digest changes with a default in a newer CRD as well, and the
        generation with a field that no template has: only both together are a change by the user.
        """
        return resource.generation == self.generation or resource.asked == self.asked


def render(resource: Resource, template: dict[str, Any], *, in_turn: bool) -> Rendering:
    return Rendering(template, resource.asked, resource.generation, RELEASE, in_turn)


def annotate(manifest: Manifest, rendering: Rendering) -> Manifest:
    """The manifest of a Deployment with *rendering* written down on it."""
    text = json.encode(rendering).decode()
    if len(text) > LONGEST_ANNOTATION:
        text = json.encode({**_fields(rendering), "template": None}).decode()
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": {RENDERED: text}}}


def _fields(rendering: Rendering) -> dict[str, Any]:
    return {name: getattr(rendering, name) for name in rendering.__struct_fields__}


def is_same(one: object, other: object) -> bool:
    """Whether two templates are the same JSON."""
    return json.encode(one, order="sorted") == json.encode(other, order="sorted")


Stage = Literal["UnderWay", "Failed", "Complete"]


def stage_of(body: Mapping[str, Any]) -> Stage:
    """
    How far the rollout of a Deployment is, by the rules of `kubectl rollout status`. A change of the replicas alone is
    none: it leaves the reason of `Progressing` as it was.
    """
    status = body.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or []}
    progress = conditions.get("Progressing", {})
    if body["spec"].get("replicas", 1) == 0:
        return "Complete"
    if status.get("observedGeneration", 0) < body["metadata"].get("generation", 0):
        return "UnderWay"
    if progress.get("reason") == "ProgressDeadlineExceeded":
        return "Failed"
    is_replaced = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    return "Complete" if progress.get("reason") == "NewReplicaSetAvailable" and is_replaced else "UnderWay"
