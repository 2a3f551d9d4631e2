"""
1,200 specs of all sorts, new ones and edits: each is refused with a sentence, or becomes Ready, or says why it is not;
the operator lives, and another resource is scaled all the while.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from sharded_queue_operator.cluster.api import Api, apps, core
from sharded_queue_operator.cluster.api import queues as shq
from sharded_queue_operator.errors import ApiRefused
from sharded_queue_operator.resource.conditions import AVAILABLE, condition
from sharded_queue_operator.resource.name import Name
from tests.conftest import MODEL_SEED
from tests.harness.canned_server import GARBAGE, answering
from tests.operator_api.conftest import Queues
from tests.operator_api.specs import ANY, FORBIDDEN, REFUSED, Draft, World, drafts, edited, reading_deeply
from tools.cluster.cluster import Cluster
from tools.operator_process import Operator, ended

ROUNDS, MADE, EDITED = 3, 320, 80
NUMBER = ROUNDS * (MADE + EDITED)

AT_ONCE = 16
PATIENCE = 40.0
LOOK_SECONDS = 0.5

NOBODY = ("127.0.0.1:1", "nobody.invalid:6379", "absent:6379", "127.0.0.1:65536", "[::1]:1", "192.0.2.1:6379")

SECRETS = {
    "text": {"username": "YQ==", "password": "YQ=="},
    "bytes": {"password": "/w==", "ca.crt": "/w=="},
    "blank": {"username": "", "password": "", "sentinelPassword": "", "ca.crt": ""},
    "empty": {},
}
TARGETS = ("mine", "ours")
TRACES = ("goroutine", "panic", "Traceback", "runtime error")


@pytest.fixture(autouse=True)
def _deep_specs() -> Iterator[None]:
    with reading_deeply():
        yield


@pytest.mark.timeout(400)
async def test_every_spec_is_refused_or_served_or_told_why_it_is_not(
    api_server: Cluster, queues: Queues, operator: Operator, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(connected(api_server.kubeconfig))
        garbage = [await stack.enter_async_context(answering(answer)) for answer in GARBAGE]
        await people(api, queues.namespace)
        fuzz = Fuzz(api, queues.namespace, World(queues.redis.address, (*garbage, *NOBODY), tuple(SECRETS), TARGETS))
        # Its requests take so long that it asks for a worker a thread, however long those on their way are kept out.
        handlers = [{"name": "sentinel", "microsecondsPerRequest": 60_000_000}]
        queues.apply("sentinel", handlers=handlers, scaling={"targetDrainSeconds": 1})
        for number in range(1, ROUNDS + 1):
            await fuzz.make()
            await asyncio.to_thread(queues.redis.register, number, 500, "sentinel")
            await fuzz.edit()
            await asyncio.to_thread(queues.wait_for_replicas, number, "sentinel-worker")
            await fuzz.delete()

    assert not fuzz.complaints, f"MODEL_SEED={MODEL_SEED}: {fuzz.complaints[0]}"
    assert min(fuzz.outcomes[end] for end in ANY) >= NUMBER / 5
    assert operator.process.poll() is None
    assert operator.is_ready()
    assert operator.page("/livez") == "ok"
    assert "Traceback" not in (tmp_path / "operator-0.log").read_text()
    assert await asyncio.to_thread(ended, operator.process) == 0


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Api]:
    settings = Configuration()
    await config.load_kube_config(config_file=str(kubeconfig), client_configuration=settings)
    api = Api(ApiClient(settings), PATIENCE)
    try:
        yield api
    finally:
        await api.close()


async def people(api: Api, namespace: str) -> None:
    """Secrets, and workloads to scale; and no pod can come to be, however many are asked for."""
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    await api.create(core("resourcequotas", namespace=namespace), quota)
    for name, data in SECRETS.items():
        await api.create(core("secrets", namespace=namespace), {"metadata": {"name": name}, "data": data})
    for name in TARGETS:
        await api.create(apps("deployments", namespace=namespace), workload(name))


def workload(name: str) -> dict[str, Any]:
    labels = {"app": "theirs"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "localhost/absent:dev"}]}}
    spec = {"replicas": 0, "paused": True, "selector": {"matchLabels": labels}, "template": pod}
    return {"metadata": {"name": name}, "spec": spec}


class Fuzz:
    """Rounds of resources: made, edited, deleted; *complaints* are what should not have been."""

    def __init__(self, api: Api, namespace: str, world: World) -> None:
        self.api, self.namespace = api, namespace
        self.chance = Random(MODEL_SEED)
        self.drafts = drafts(self.chance, world)
        self.path = shq(namespace=namespace)
        self.there: dict[str, Draft] = {}
        self.outcomes: Counter[str] = Counter()
        self.complaints: list[str] = []

    async def make(self) -> None:
        made = list(islice(self.drafts, MADE))
        await self.all(self.create(draft) for draft in made)
        await self.judge(self.there)

    async def edit(self) -> None:
        names = self.chance.sample(sorted(self.there), EDITED)
        others = (draft for draft in self.drafts if draft.ends != FORBIDDEN)
        edits = {name: edited(self.there[name], draft) for name, draft in zip(names, others, strict=False)}
        await self.all(self.replace(name, draft) for name, draft in edits.items())
        await self.judge(edits)

    async def delete(self) -> None:
        await self.api.call("DELETE", self.path, query={"labelSelector": "fuzz"})
        self.there = {}
        if left := set(await self.bodies()) - {"sentinel"}:
            self.complaints.append(f"deleted and still there: {', '.join(left)}")

    async def all(self, works: Iterable[Awaitable[None]]) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(work: Awaitable[None]) -> None:
            async with gate:
                await work

        await asyncio.gather(*map(one, works))

    async def create(self, draft: Draft) -> None:
        if draft.target:
            await self.api.create(apps("deployments", namespace=self.namespace), workload(draft.target))
        draft.manifest["metadata"]["labels"] = {"fuzz": "true"}
        if body := await self.asked(draft, "POST", self.path, draft.manifest, "application/json"):
            self.there[Name.of(body).name] = draft

    async def replace(self, name: str, draft: Draft) -> None:
        annotations = draft.manifest["metadata"].get("annotations", {})
        patch = [
            {"op": "add", "path": "/metadata/annotations", "value": annotations},
            {"op": "replace", "path": "/spec", "value": draft.manifest["spec"]},
        ]
        if await self.asked(draft, "PATCH", f"{self.path}/{name}", patch, "application/json-patch+json"):
            self.there[name] = draft

    async def asked(self, draft: Draft, verb: str, path: str, body: Any, content: str) -> dict[str, Any] | None:
        """What the server made of it; None where it refused, which must be a sentence about the field."""
        try:
            return await self.api.call(verb, path, body, content, {"fieldValidation": "Strict"})
        except ApiRefused as error:
            self.outcomes[REFUSED] += 1
            is_said = draft.field in str(error) and not any(trace in str(error) for trace in TRACES)
            if error.status not in {400, 404, 413, 422} or not is_said or REFUSED not in draft.ends:
                self.complain(draft, f"was refused: {error}")
            return None

    async def judge(self, asked: Mapping[str, Draft]) -> None:
        """
        Wait until each has said of its newest spec whether it is served, and look at what it says. A pin that ends
        changes a spec once more, so what one has said counts also when another is still waited for. Fails when none of
        those that are left says anything for PATIENCE seconds.
        """
        clock = asyncio.get_running_loop().time
        deadline, waiting, bodies = clock() + PATIENCE, set(asked), await self.bodies()
        while left := {name for name in waiting if not self.is_told(asked[name], bodies[name])}:
            if left != waiting:  # how long all of them take says only how fast the machine is
                deadline, waiting = clock() + PATIENCE, left
            if clock() > deadline:
                break
            await asyncio.sleep(LOOK_SECONDS)
            bodies = await self.bodies()
        for name in left:
            self.complain(asked[name], f"ended {end(bodies[name])}: {bodies[name]}")

    def is_told(self, draft: Draft, body: Mapping[str, Any]) -> bool:
        """Whether it ended as it may; what it says of that is counted and looked at."""
        if end(body) not in draft.ends:
            return False
        self.outcomes[end(body)] += 1
        if not all(readiness(body)[part] for part in ("reason", "message")):
            self.complain(draft, f"says too little: {body}")
        return True

    async def bodies(self) -> dict[str, dict[str, Any]]:
        return {Name.of(body).name: body for body in (await self.api.get(self.path))["items"]}

    def complain(self, draft: Draft, what: str) -> None:
        self.complaints.append(f"{draft.sort} {what:.2000}\n{draft.manifest!s:.4000}")


def end(body: Mapping[str, Any]) -> str:
    """How the operator took a spec. That no pod can come to be here is no word about it."""
    ready, available = readiness(body), condition(body.get("status") or {}, AVAILABLE)
    if available.get("status") == "False" and ready.get("reason") == available["reason"]:
        return "True"
    return str(ready.get("status", "untold"))


def readiness(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The condition, when it is about the newest generation."""
    conditions = (body.get("status") or {}).get("conditions", [])
    ready = {each["type"]: each for each in conditions}.get("Ready", {})
    return ready if ready.get("observedGeneration") == body["metadata"]["generation"] else {}
