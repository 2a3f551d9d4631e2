"""
ShardedQueues of all sorts, made from the schema of the CRD by one seeded chance: sound ones, ones at their bounds, ones
that the schema forbids, ones whose pod template is odd, and ones whose world is not as they say.
"""

import copy
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import yaml

from sharded_queue_operator.__main__ import NESTED
from sharded_queue_operator.resource.spec import API_VERSION, KIND, NAME_CHARACTERS, PAUSE, PAUSES

CRD = Path(__file__).parents[2] / "crds" / "shardedqueues.yaml"
SCHEMA = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]

OWN = "own-"
"""How the names of workloads begin that are made for one resource each."""

Json = Any
Step = str | int


REFUSED, READY, UNREADY = "refused", "True", "False"
"""How a spec may end: refused by the API server, or accepted, and then ready or told why not."""

SERVED, FORBIDDEN, TOLD, ANY = ({READY}, {REFUSED}, {READY, UNREADY}, {REFUSED, READY, UNREADY})


class Draft(NamedTuple):
    """A resource, how it may end, and the field that a refusal must name."""

    manifest: dict[str, Json]
    sort: str
    ends: Set[str]
    field: str = ""

    @property
    def target(self) -> str:
        """A workload of its own that it scales; "" for none."""
        spec = self.manifest.get("spec")
        ref = spec.get("scaleTargetRef") if isinstance(spec, dict) else None
        name = ref.get("name") if isinstance(ref, dict) else None
        return name if isinstance(name, str) and name.startswith(OWN) and len(name) == len(OWN) + 8 else ""


def edited(before: Draft, after: Draft) -> Draft:
    """The same resource with another spec, but for what must not change."""
    old, new = before.manifest["spec"], dict(after.manifest["spec"])
    runs = "worker" if "worker" in old else "scaleTargetRef"
    parts = {name: part for name, part in new.items() if name not in {"worker", "scaleTargetRef", "handlers"}}
    parts |= {"handlers": old["handlers"], runs: new.get(runs, old[runs])}
    parts["redis"] = parts["redis"] | {"keyPrefix": old["redis"].get("keyPrefix", "")}
    metadata = after.manifest["metadata"] | {"name": before.manifest["metadata"]["name"]}
    is_served = after.ends == SERVED and runs in new and not after.target
    ends = after.ends if is_served or after.ends != SERVED else TOLD
    return Draft(manifest(spec=parts, **metadata), f"{before.sort}, then {after.sort}", ends, after.field)


class World(NamedTuple):
    """What specs may speak of."""

    redis: str
    odd_places: tuple[str, ...]
    """Addresses where no Redis answers, or something else does."""
    secrets: tuple[str, ...]
    targets: tuple[str, ...]


def drafts(chance: Random, world: World) -> Iterator[Draft]:
    """Without end; the same again for the same chance."""
    sorts = {sound: 5, bounded: 3, forbidden: 8, odd_template: 6, misplaced: 3, misnamed: 1, paused: 1, shapeless: 1}
    for number in count():
        (make,) = chance.choices(list(sorts), list(sorts.values()))
        yield make(chance, world, f"spec-{number:05d}")


def manifest(name: str, spec: Json, **metadata: Json) -> dict[str, Json]:
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name, **metadata}, "spec": spec}


# The sorts


def sound(chance: Random, world: World, name: str) -> Draft:
    return Draft(manifest(name, spec_of(chance, world)), "sound", SERVED)


def bounded(chance: Random, world: World, name: str) -> Draft:
    """Each number, length and list at its least or its most."""
    return Draft(manifest(name, spec_of(chance, world, at_bounds=True)), "bounded", SERVED)


def forbidden(chance: Random, world: World, name: str) -> Draft:
    """One thing in it that the schema does not allow."""
    spec = spec_of(chance, world)
    faults = [(fault, *place) for place in places(spec, SCHEMA) for fault in FAULTS if fault.applies(*place[1:])]
    fault = chance.choice(sorted({fault.name for fault, *_ in faults}))
    found, path, value, schema = chance.choice([entry for entry in faults if entry[0].name == fault])
    field, new = found.spoil(chance, path, value, schema)
    sort = f"forbidden: {fault} at {'.'.join(map(str, path))}"
    return Draft(manifest(name, replaced(spec, path, new)), sort, FORBIDDEN, field)


def odd_template(chance: Random, world: World, name: str) -> Draft:
    """A pod template with one or two values of any kind anywhere, or written by somebody who guessed."""
    template = chance.choice(GUESSES) if chance.random() < 0.4 else spoiled(chance, TEMPLATE)
    if chance.random() < 0.3:
        template = spoiled(chance, template)
    spec = spec_of(chance, world, runs="worker")
    spec["worker"]["template"] = copy.deepcopy(template)
    return Draft(manifest(name, spec), "odd template", TOLD if isinstance(template, dict) else ANY, "template")


def misplaced(chance: Random, world: World, name: str) -> Draft:
    """Of things that are not there, are not what they should be, or are another's already."""
    spec = spec_of(chance, world)
    what = chance.choice(["redis", "secret", "authority", "target"])
    if what == "target":
        spec.pop("worker", None)
        spec["scaleTargetRef"] = {"name": chance.choice([*world.targets, "absent", f"{name}-worker"])}
        spec["scaleTargetRef"] |= chance.choice([{}, {"kind": "StatefulSet"}])
        return Draft(manifest(name, spec), "misplaced: target", TOLD)
    address = world.redis if what != "redis" else chance.choice(world.odd_places)
    spec["redis"] = {"addresses": [address]} | {
        "redis": lambda: chance.choice([{}, {}, {"tls": {"mode": "Verify"}}]),
        "secret": lambda: {"authSecretName": chance.choice([*world.secrets, "absent"])},
        "authority": lambda: {"tls": {"mode": "Verify", "caSecretName": chance.choice([*world.secrets, "absent"])}},
    }[what]()
    if chance.random() < 0.4:
        several = {"addresses": [address, "127.0.0.1:2"]}
        spec["redis"] |= several | chance.choice(
            [{"mode": "Cluster"}, {"mode": "Sentinel", "sentinelMasterName": "main"}]
        )
    return Draft(manifest(name, spec), f"misplaced: {what}", TOLD)


def misnamed(chance: Random, world: World, name: str) -> Draft:
    """Names that Kubernetes allows and are odd, and some that it does not."""
    spec = spec_of(chance, world)
    good = [f"{name}.{'d' * (NAME_CHARACTERS - len(name) - 1)}", f"0.{name}", f"{name}-worker"]
    bad = [f"{name}{'n' * NAME_CHARACTERS}", name.upper(), f"{name}/x", f"ü{name}", "", None, f"-{name}", name * 30]
    if chance.random() < 0.5:
        return Draft(manifest(chance.choice(good), spec), "odd name", SERVED)
    return Draft(manifest(chance.choice(bad), spec), "bad name", FORBIDDEN, "name")


def paused(chance: Random, world: World, name: str) -> Draft:
    values: list[Json] = ["up", "down", "both", "", " up", "Both", "sideways", "\U0001f6d1", "up" * 40_000, 1, True, []]
    value = chance.choice(values)
    body = manifest(name, spec_of(chance, world), annotations={PAUSE: value})
    if not isinstance(value, str):
        return Draft(body, "pause of no text", FORBIDDEN, "annotations")
    return Draft(body, f"pause {value[:10]!r}", SERVED if value in PAUSES else {UNREADY})


def shapeless(chance: Random, world: World, name: str) -> Draft:
    body = manifest(name, chance.choice([None, [], "spec", 1, {}]))
    if chance.random() < 0.3:
        del body["spec"]
    return Draft(body, "shapeless", FORBIDDEN, "spec")


# What the schema allows


def spec_of(chance: Random, world: World, runs: str | None = None, *, at_bounds: bool = False) -> dict[str, Json]:
    spec: dict[str, Json] = allowed(chance, SCHEMA, at_bounds)
    return coherent(chance, spec, world, runs or chance.choice(["worker", "worker", "scaleTargetRef"]))


def coherent(chance: Random, spec: dict[str, Json], world: World, runs: str) -> dict[str, Json]:
    """The same, made to keep the rules that tie fields together, and to speak of what is there."""
    properties = SCHEMA["properties"]
    for name in ("worker", "scaleTargetRef"):
        spec.pop(name, None)
    spec[runs] = allowed(chance, properties[runs], at_bounds=False)
    if runs == "worker":
        spec[runs].pop("template", None)
    else:
        spec[runs] = {"name": f"{OWN}{chance.randrange(2**32):08x}"}
    spec["redis"] = {"addresses": [world.redis]} | {k: v for k, v in spec["redis"].items() if k == "keyPrefix"}
    scaling = spec.get("scaling", {})
    least, most = scaling.get("minReplicas", 0), scaling.get("maxReplicas", 10)
    if least > most:
        scaling["minReplicas"] = most
    if fallback := scaling.get("fallback"):
        scaling["fallback"] = (
            {"policy": "AtLeast", "replicas": min(most, fallback.get("replicas", 1))}
            if fallback.get("policy") == "AtLeast"
            else {}
        )
    return spec


def allowed(chance: Random, schema: Mapping[str, Json], at_bounds: bool) -> Json:
    if "enum" in schema:
        return chance.choice(schema["enum"])
    return MAKERS[schema["type"]](chance, schema, at_bounds)


def an_object(chance: Random, schema: Mapping[str, Json], at_bounds: bool) -> dict[str, Json]:
    return {
        name: allowed(chance, part, at_bounds)
        for name, part in schema.get("properties", {}).items()
        if name in schema.get("required", ()) or chance.random() < 0.5
    }


def an_array(chance: Random, schema: Mapping[str, Json], at_bounds: bool) -> list[Json]:
    first = allowed(chance, schema["items"], at_bounds=False)
    return many(first, chance.choice([schema["minItems"], schema["maxItems"]] if at_bounds else [1, 2, 3]))


def a_number(chance: Random, schema: Mapping[str, Json], at_bounds: bool) -> float:
    least, most = schema["minimum"], schema["maximum"]
    return chance.choice([least, most]) if at_bounds else type(least)(min(most, least + chance.choice([0, 1, 5, 30])))


def a_string(chance: Random, schema: Mapping[str, Json], at_bounds: bool) -> str:
    words = [word for word in WORDS if fits(word, schema)]
    longest = (stem.rjust(schema["maxLength"], "a") for stem in ("a", ":6379"))
    bounds = [min(words, key=len), *(word for word in longest if fits(word, schema))]
    return chance.choice(bounds if at_bounds else words)


def fits(word: str, schema: Mapping[str, Json]) -> bool:
    pattern = re.compile(schema.get("pattern", ".*"))
    return schema.get("minLength", 0) <= len(word) <= schema["maxLength"] and bool(pattern.fullmatch(word))


WORDS = ("a", "a.b", "a-b", "main", "shop.Notify", "shop_", "a1", "redis:6379", "shop.<locals>.Notify", "x_y", "z")
MAKERS: dict[str, Callable[[Random, Mapping[str, Json], bool], Json]] = {
    "object": an_object,
    "array": an_array,
    "string": a_string,
    "integer": a_number,
    "number": a_number,
    "boolean": lambda chance, schema, at_bounds: chance.random() < 0.5,
}


# What it does not


class Fault(NamedTuple):
    """One way to break a value; *spoil* gives what a refusal must name, and the new value."""

    name: str
    applies: Callable[[Json, Mapping[str, Json]], bool]
    spoil: Callable[[Random, tuple[Step, ...], Json, Mapping[str, Json]], tuple[str, Json]]


def fault(name: str, applies: Callable[..., bool], value: Callable[[Random, Json, Mapping[str, Json]], Json]) -> Fault:
    """One that puts another value in its place."""
    return Fault(name, applies, lambda chance, path, old, schema: (named(path), value(chance, old, schema)))


def missing(chance: Random, path: tuple[Step, ...], old: Json, schema: Mapping[str, Json]) -> tuple[str, Json]:
    name = chance.choice(schema["required"])
    return name, {key: value for key, value in old.items() if key != name}


def unknown(chance: Random, path: tuple[Step, ...], old: Json, schema: Mapping[str, Json]) -> tuple[str, Json]:
    name = chance.choice(["namespace", "password", "Name", "x-y", "maxreplicas"])
    return name, old | {name: chance.choice(ODD_VALUES)}


def of_another_type(chance: Random, old: Json, schema: Mapping[str, Json]) -> Json:
    types = {"object": {}, "array": [], "string": "1", "number": 1.5, "boolean": True}
    same = {"integer": {"number"}, "number": {"number"}}.get(schema["type"], {schema["type"]})
    return chance.choice([value for name, value in types.items() if name not in same])


def misspelt(chance: Random, old: Json, schema: Mapping[str, Json]) -> Json:
    words = [f"{letters}{old}" for letters in ODD_LETTERS] + [f"{old}{letters}" for letters in ODD_LETTERS]
    return chance.choice([word for word in words if not fits(word, schema)])


FAULTS = (
    fault("another type", lambda old, schema: True, of_another_type),
    fault("too little", lambda old, schema: "minimum" in schema, lambda c, old, s: s["minimum"] - c.choice([1, 2**40])),
    fault("too much", lambda old, schema: "maximum" in schema, lambda c, old, s: s["maximum"] + c.choice([1, 2**40])),
    fault("a fraction", lambda old, schema: schema["type"] == "integer", lambda c, old, s: s["minimum"] + 0.5),
    fault(
        "none of the words",
        lambda old, schema: "enum" in schema,
        lambda c, old, s: c.choice(["", "x", old.upper() + " "]),
    ),
    fault(
        "too long",
        lambda old, schema: "maxLength" in schema,
        lambda c, old, s: "a" * c.choice([s["maxLength"] + 1, 2**18]),
    ),
    fault("odd letters", lambda old, schema: "pattern" in schema, misspelt),
    fault("too few", lambda old, schema: "minItems" in schema, lambda c, old, s: []),
    fault("too many", lambda old, schema: "maxItems" in schema, lambda c, old, s: many(old[0], s["maxItems"] + 1)),
    fault("twice the same", lambda old, schema: schema["type"] == "array", lambda c, old, s: [*old, old[0]]),
    Fault("missing", lambda old, schema: "required" in schema, missing),
    Fault("unknown", lambda old, schema: "properties" in schema, unknown),
)


def many(item: Json, number: int) -> list[Json]:
    if isinstance(item, dict):
        return [item | {"name": f"{item['name']}{index}"} for index in range(number)]
    return [f"{index}{item}" if ":" in item else f"{item}{index}" for index in range(number)]


def named(path: tuple[Step, ...]) -> str:
    return next((step for step in reversed(path) if isinstance(step, str)), "spec")


def places(value: Json, schema: Mapping[str, Json], path: tuple[Step, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Path, value and schema of all that stands in a spec."""
    yield path, value, schema
    if isinstance(value, dict) and "properties" in schema:
        for name, part in value.items():
            yield from places(part, schema["properties"][name], (*path, name))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, schema["items"], (*path, index))


def replaced(value: Json, path: tuple[Step, ...], new: Json) -> Json:
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


# Pod templates


def spoiled(chance: Random, template: Json) -> Json:
    paths = list(nodes(template))
    return replaced(template, chance.choice(paths), chance.choice(ODD_VALUES))


def nodes(value: Json, path: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, part in parts:
        yield from nodes(part, (*path, step))


def nested(depth: int) -> Json:
    value: Json = {}
    for _ in range(depth):
        value = {"a": value}
    return value


ODD_LETTERS = (" ", "\n", "\x00", "é", "\u202e", "\U0001f6d1", "../", "{", "$(id)", "%s", "\ufffd", "ＡＢ")
ODD_VALUES: tuple[Json, ...] = (
    None, True, 0, -1, 1.5, 2**63, 2**64, 10**30, "", "x", "x" * 70_000, *ODD_LETTERS,
    [], {}, [None], [[]], [{}], [1, 1], {"": ""}, {"a": None}, {"name": {"name": []}}, [{"name": {}}],
    [{"name": "worker"}] * 2, nested(100), nested(3_000),
)  # fmt: skip

TEMPLATE: Json = {
    "metadata": {"labels": {"env": "prod", "app.kubernetes.io/name": "mine"}, "annotations": {"a": "b"}},
    "spec": {
        "containers": [
            {
                "name": "worker",
                "image": "localhost/absent:dev",
                "command": ["sharded-queue"],
                "args": ["worker", "shop"],
                "env": [{"name": "A", "value": "1"}, {"name": "QUEUE_REDIS_ADDRESS", "value": "elsewhere:1"}],
                "envFrom": [{"configMapRef": {"name": "absent"}}],
                "ports": [{"containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
                "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                "livenessProbe": {"httpGet": {"path": "/", "port": 1}, "periodSeconds": 3},
                "securityContext": {"runAsUser": 1, "capabilities": {"add": ["NET_ADMIN"]}},
            },
            {
                "name": "beside",
                "image": "localhost/absent:dev",
                "env": [{"name": "B"}],
                "ports": [{"containerPort": 1}],
            },
        ],
        "initContainers": [{"name": "before", "image": "localhost/absent:dev"}],
        "volumes": [{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}],
        "securityContext": {"runAsNonRoot": True, "fsGroup": 1},
        "terminationGracePeriodSeconds": 3700,
        "restartPolicy": "Always",
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "imagePullSecrets": [{"name": "absent"}],
        "serviceAccountName": "default",
        "priorityClassName": "absent",
    },
}


def with_pod(**fields: Json) -> Json:
    return {"spec": fields}


def with_containers(*containers: Json) -> Json:
    return with_pod(containers=list(containers))


WORKER = {"name": "worker"}
BESIDE = {"name": "beside", "image": "b"}
GUESSES: tuple[Json, ...] = (
    *ODD_VALUES,
    with_containers(),
    with_containers(WORKER, WORKER),
    with_containers({"name": "beside"}),
    with_containers(BESIDE, BESIDE),
    with_containers(BESIDE | {"env": "A=1"}, BESIDE | {"env": [{"name": "A"}]}),
    with_containers(BESIDE | {"env": [1]}, BESIDE | {"env": [{"name": "A"}]}),
    with_containers(BESIDE | {"env": [{}]}, BESIDE | {"env": [{"name": "A"}]}),
    with_containers(BESIDE | {"ports": [{"name": []}]}, BESIDE | {"ports": [{"name": "x"}]}),
    with_containers({"image": "b"}),
    with_containers({"name": "Wörker", "image": "b"}),
    with_containers(WORKER | {"env": [{"name": "A", "value": 1}]}),
    with_containers(WORKER | {"env": [{"name": "A"}, {"name": "A", "value": "2"}]}),
    with_containers(WORKER | {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "k"}}}]}),
    with_containers(WORKER | {"ports": [{"name": "other", "containerPort": 9090}]}),
    with_containers(WORKER | {"ports": [{"containerPort": 1}, {"containerPort": 1}]}),
    with_containers(WORKER | {"ports": [{"containerPort": 70_000}]}),
    with_containers(WORKER | {"volumeMounts": [{"name": "nowhere", "mountPath": "/x"}]}),
    with_containers(
        WORKER | {"volumeMounts": [{"name": "tmp", "mountPath": "/x"}, {"name": "tmp", "mountPath": "/x"}]}
    ),
    with_containers(WORKER | {"resources": {"limits": {"cpu": "lots"}}}),
    with_containers(WORKER | {"unheard": "of"}),
    with_containers(WORKER | {"livenessProbe": {"exec": {"command": ["true"]}}}),
    with_pod(volumes=[{"name": "tmp", "hostPath": {"path": "/"}}]),
    with_pod(volumes=[{"name": "tmp"}, {"name": "tmp", "emptyDir": {}}]),
    with_pod(volumes=[{"name": "v", "secret": {"secretName": "absent"}}, {"name": "w", "unheard": {}}]),
    with_pod(terminationGracePeriodSeconds=1),
    with_pod(terminationGracePeriodSeconds="3700"),
    with_pod(terminationGracePeriodSeconds=3700.5),
    with_pod(terminationGracePeriodSeconds=2**64),
    with_pod(terminationGracePeriodSeconds=None),
    with_pod(restartPolicy="Never"),
    with_pod(hostNetwork=True, unheard="of"),
    with_pod(tolerations=[{"name": {}, "key": "a"}, {"name": [], "key": "b"}]),
    with_pod(tolerations=[{"uid": {}, "key": "a"}]),
    with_pod(securityContext={"runAsUser": 2**64}),
    {"metadata": {"labels": {"shardedqueue.dev/queue": "another", "app.kubernetes.io/name": "another"}}},
    {"metadata": {"labels": {"a b": "c"}}},
    {"metadata": {"labels": {"a": 1}}},
    {"metadata": {"labels": {"a": "x" * 64}}},
    {"metadata": {"name": "own", "namespace": "kube-system", "finalizers": ["a/b"]}},
    {"metadata": {"annotations": {"a": "x" * 300_000}}},
    {"metadata": {"unheard": "of"}},
    {"apiVersion": "v1", "kind": "Pod", "unheard": "of"},
    {"spec": None},
    {"metadata": None},
    with_pod(nodeSelector={"a": "x" * 700_000}),
)


@contextmanager
def reading_deeply() -> Iterator[None]:
    """The API server takes objects that are nested deeper than Python reads by default."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(NESTED)
    yield
    sys.setrecursionlimit(before)
