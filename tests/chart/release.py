"""A release of the chart on a real cluster, and what one can say to it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.chart.helm import CHART, Manifest
from tools.cluster.cluster import Cluster

NAME = "queues"
OPERATOR = f"{NAME}-sharded-queue-operator"
REDIS = f"{NAME}-sharded-queue-redis"
OURS = f"app.kubernetes.io/instance={NAME}"
CRD = "customresourcedefinition/shardedqueues.shardedqueue.dev"
KINDS = "all,serviceaccounts,roles,rolebindings,configmaps,networkpolicies,poddisruptionbudgets,leases,secrets"


class Right(NamedTuple):
    group: str
    resource: str
    """With its subresource, as in `deployments/scale`."""
    verb: str


class Release:
    """One that serves its own namespace only, so that no other test meets its operator."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    def helm(self, *arguments: str) -> str:
        return self.cluster.helm(*arguments, "--namespace", self.namespace, timeout=180)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *arguments, stdin=stdin, timeout=120)

    def install(self, *settings: str, chart: Path = CHART) -> str:
        """Also over a definition of ShardedQueue that another release or kubectl left, as uninstalling keeps it."""
        watched = f"watchNamespaces={{{self.namespace}}}"
        ours = ["--take-ownership", "--force-conflicts", "--wait", "--timeout=120s", "--set", watched]
        return self.helm("upgrade", "--install", NAME, str(chart), *ours, *settings)

    def uninstall(self) -> None:
        self.helm("uninstall", NAME, "--ignore-not-found", "--wait", "--timeout=60s")
        self.kubectl("wait", "pods", f"--selector={OURS}", "--for=delete", "--timeout=60s")

    def apply(self, *objects: Manifest) -> None:
        self.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(objects))

    def get(self, *what: str) -> Any:
        return json.loads(self.kubectl("get", *what, "--output=json"))

    def names(self) -> set[str]:
        return set(self.kubectl("get", KINDS, "--output=name").split())

    def granted(self) -> set[Right]:
        """To the operator, by all roles of the release."""
        roles = self.get("roles", f"--selector={OURS}")["items"]
        rules = [rule for role in roles for rule in role["rules"]]
        return {
            Right(g, r, v)
            for rule in rules
            for g in rule["apiGroups"]
            for r in rule["resources"]
            for v in rule["verbs"]
        }

    def rights(self, account: str) -> set[str]:
        """What an account may do in this namespace, a line each."""
        return set(self.kubectl("auth", "can-i", "--list", f"--as={account}").splitlines())

    def asked(self, log: Path, user: str | None = None) -> Iterator[tuple[Right, int]]:
        """What *user*, by default the operator, asked the API server for, and the status of the answer."""
        user = user or f"system:serviceaccount:{self.namespace}:{OPERATOR}"
        with log.open() as lines:
            for line in lines:
                if user in line:
                    yield from asked(json.loads(line), user)


def asked(event: dict[str, Any], user: str) -> Iterator[tuple[Right, int]]:
    thing, status = event.get("objectRef"), event.get("responseStatus", {}).get("code", 0)
    if not thing or event["user"]["username"] != user:
        return
    resource = "/".join(filter(None, (thing["resource"], thing.get("subresource"))))
    yield Right(thing.get("apiGroup", ""), resource, event["verb"]), status
    if event["verb"] == "patch" and status == 201:  # server-side apply of what was not there is authorized as both
        yield Right(thing.get("apiGroup", ""), resource, "create"), status


def queue(name: str, **spec: Any) -> Manifest:
    """A ShardedQueue on the release's own Redis."""
    redis = {"addresses": [f"{REDIS}:6379"], **spec.pop("redis", {})}
    return {
        "apiVersion": "shardedqueue.dev/v1alpha1",
        "kind": "ShardedQueue",
        "metadata": {"name": name},
        "spec": {"redis": redis, "handlers": [{"name": f"{name}.Handler"}], **spec},
    }


def workload(kind: str, name: str) -> Manifest:
    """Of somebody who scales it by a ShardedQueue; its pods never need to run."""
    labels = {"app": name}
    pod = {"containers": [{"name": "worker", "image": "localhost/notifications:dev"}], "nodeSelector": {"no": "where"}}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    more = {"serviceName": name, "podManagementPolicy": "Parallel"} if kind == "StatefulSet" else {}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec | more}
