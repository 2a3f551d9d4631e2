"""
What an earlier release left in a cluster, for an upgrade to begin from: its chart as Helm rendered it, and what its
operator wrote of the ShardedQueue `steps`. A checkout without that release has it as data, recorded from the release
itself by

    .venv/bin/python -m tests.e2e.earlier_release 961abce
"""

import asyncio
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from redis.asyncio import Redis

from sharded_queue import RedisStorage
from sharded_queue.storage import Entry, Registration
from sharded_queue.tube import Shard
from tests.chart.helm import REPOSITORY, Manifest, helm, of_kind
from tests.chart.release import NAME, OPERATOR, REDIS, Release
from tests.crash.worker_processes import THREADS, StepHandler
from tests.e2e.steps import PODS, steps
from tools.cluster.api_server import serving
from tools.cluster.namespace import fresh_namespace
from tools.operator_process import starting, until
from tools.redis_server import RedisServer

FOLDER = Path(__file__).parent / "earlier"
NAMESPACE = "release-namespace"
"""In the data, where the namespace of a test comes."""
VALUES = {"redis.enabled": "true", "settings.leaseSeconds": "4"}
"""What the user of the release set."""
MANAGER = "sharded-queue-operator"


def settings() -> list[str]:
    return [f"--set={name}={value}" for name, value in VALUES.items()]


def chart(folder: Path, namespace: str) -> Path:
    """
    A chart with what the one of the earlier release made in *namespace*, and with its values, which an upgrade may
    reuse. Nothing of that release can run: its operator has ended.
    """
    (folder / "templates").mkdir(parents=True)
    for name in ("Chart.yaml", "values.yaml"):
        (folder / name).write_text(_read(name, namespace))
    objects = list(yaml.safe_load_all(_read("objects.yaml", namespace)))
    for each in of_kind(objects, "Deployment"):
        if each["metadata"]["name"] == OPERATOR:
            each["spec"]["replicas"] = 0
    (folder / "templates" / "objects.yaml").write_text(yaml.safe_dump_all(objects, sort_keys=False))
    return folder


def write_as_its_operator(release: Release) -> None:
    """The Deployment and the status of `steps`, by the operator's own field manager."""
    resource = release.get("shq", "steps")
    deployment, status = yaml.safe_load_all(_read("written.yaml", release.namespace))
    deployment["metadata"]["ownerReferences"][0]["uid"] = resource["metadata"]["uid"]
    manager = f"--field-manager={MANAGER}"
    release.kubectl("apply", "--server-side", manager, "--filename=-", stdin=yaml.safe_dump(deployment))
    patch = f"--patch={json.dumps(status)}"
    release.kubectl("patch", "shq", "steps", "--subresource=status", "--type=merge", manager, patch)


def _read(name: str, namespace: str) -> str:
    return (FOLDER / name).read_text().replace(NAMESPACE, namespace)


# Recording.


def main() -> None:
    (commit,) = sys.argv[1:]
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        source = _unpack(commit, Path(folder) / "source")
        _record_chart(commit, source / "charts" / "sharded-queue")
        with serving(Path(folder) / "state") as cluster, fresh_namespace(cluster, "earlier") as namespace:
            _record_operator(commit, source, Release(cluster, namespace), Path(folder))


def _unpack(commit: str, folder: Path) -> Path:
    archive = subprocess.run(
        ["git", "archive", commit, "worker", "operator", "crds", "charts"], cwd=REPOSITORY, stdout=-1, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


def _record_chart(commit: str, source: Path) -> None:
    watched = f"--set=watchNamespaces={{{NAMESPACE}}}"
    words = helm("template", NAME, source, "--namespace", NAMESPACE, watched, "--no-hooks", *settings())
    _write("objects.yaml", commit, "`helm template` of the chart", list(yaml.safe_load_all(words)))
    for name in ("Chart.yaml", "values.yaml"):
        _write(name, commit, f"its {name}", [yaml.safe_load((source / name).read_text())])


def _record_operator(commit: str, source: Path, release: Release, folder: Path) -> None:
    """What its operator wrote, while all workers were wanted; no pod runs here."""
    redis = RedisServer(folder / "redis").start()
    try:
        release.kubectl("apply", "--filename", str(source / "crds"))
        release.kubectl("wait", "--for=condition=Established", "crd/shardedqueues.shardedqueue.dev")
        asyncio.run(_register(redis.port))
        resource = steps("first")
        resource["spec"]["redis"]["addresses"] = [redis.address]
        release.apply(resource)
        packages = f"{source / 'worker'}:{source / 'operator'}"
        with starting(release.cluster, release.namespace, folder) as start:
            start(PYTHONPATH=packages)
            status = until(lambda: _status_of(release), "the operator asks for all workers")
        deployment = release.get("deployment", "steps-worker", "--show-managed-fields")
        objects = json.dumps([_owned(deployment), {"status": status}])
        texts = {release.namespace: NAMESPACE, redis.address: f"{REDIS}:6379"}
        for text, other in texts.items():
            objects = objects.replace(text, other)
        _write("written.yaml", commit, "what its operator wrote: a Deployment, and a status", json.loads(objects))
    finally:
        redis.kill()


async def _register(port: int) -> None:
    async with Redis(port=port) as redis:
        entries = [Entry(thread, 0, [b"[1]"] * 100) for thread in THREADS]
        await RedisStorage(redis).register(Shard(StepHandler.name), Registration(entries))


def _status_of(release: Release) -> Any:
    """Without `handlers`, by which an operator knows a Redis again: a test has another one."""
    status = release.get("shq", "steps").get("status", {})
    is_ready = status.get("desiredReplicas") == status.get("replicas") == PODS
    return {name: value for name, value in status.items() if name != "handlers"} if is_ready else None


def _owned(body: Manifest) -> Manifest:
    """What the operator sent of an object: the fields that it owns."""
    (fields,) = [each["fieldsV1"] for each in body["metadata"]["managedFields"] if each["manager"] == MANAGER]
    names = {key: body["metadata"][key] for key in ("namespace", "name")}
    owned = _part(body, fields)
    return {
        **{key: body[key] for key in ("apiVersion", "kind")},
        **owned,
        "metadata": {**names, **owned["metadata"]},
    }


def _part(value: Any, fields: dict[str, Any]) -> Any:
    """In the order of *value*. *fields*: as in `fieldsV1`; an empty one owns the whole."""
    members = {key.partition(":")[2]: part for key, part in fields.items() if key != "."}
    if not members:
        return value
    if isinstance(value, dict):
        return {name: _part(each, members[name]) for name, each in value.items() if name in members}
    return [_part(each, part) for each in value for key, part in members.items() if _is_member(each, key)]


def _is_member(value: Any, key: str) -> bool:
    found = json.loads(key)
    return bool(found.items() <= value.items()) if isinstance(found, dict) else value == found


def _write(name: str, commit: str, what: str, documents: list[Any]) -> None:
    command = f"# Of the release {commit}: {what}. Made by `.venv/bin/python -m tests.e2e.earlier_release {commit}`.\n"
    text = yaml.safe_dump_all([each for each in documents if each], sort_keys=False, width=120)
    (FOLDER / name).write_text(command + text)


if __name__ == "__main__":
    main()
