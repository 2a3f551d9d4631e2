"""
What tests ask for: `cluster`, one for the whole run; `api_server`, the same or, where no node can run, an API server
whose pods never start; and `namespace`, a fresh one for each test.

Loaded by `pytest_plugins = ["tests.cluster.fixtures"]`. What takes minutes the first time happens between collecting
and running, for a test's time limit counts its fixtures; and only when a test that will run asks for it. For the
same reason the cluster is taken down after the last test, and not by its fixture.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import NoReturn

import pytest

from tests.harness.order import uses_kubernetes
from tests.harness.requirements import kubernetes_program
from tools.cluster import binaries
from tools.cluster import cluster as harness
from tools.cluster.api_server import serving
from tools.cluster.cluster import Cluster
from tools.cluster.namespace import fresh_namespace
from tools.cluster.paths import CannotRun

NAMES = {"cluster": "cluster", "api_server": "API server"}
"""The fixtures that there is one of a run, and what a person calls them."""

_problem = pytest.StashKey[Exception | None]()
_is_up = pytest.StashKey[bool]()
_missing = pytest.StashKey[set[str]]()
_is_ours = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_missing] = set()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """There is one cluster a machine: where tests run side by side, those that use it stay together."""
    for item in items:
        if uses_kubernetes(item):
            item.add_marker(pytest.mark.xdist_group("cluster"))


def pytest_collection_finish(session: pytest.Session) -> None:
    wanted = any(uses_kubernetes(item) or "api_programs" in fixtures_of(item) for item in session.items)
    if not wanted or session.config.option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():
            harness.prepare()
    except Exception as error:  # told by the tests that asked for a cluster; the others run
        session.config.stash[_problem] = error


def fixtures_of(item: pytest.Item) -> Sequence[str]:
    names: Sequence[str] = getattr(item, "fixturenames", ())
    return names


@pytest.fixture(scope="session")
def api_programs() -> None:
    """The programs of an API server, for tests that start one of their own."""
    for program in binaries.API:
        kubernetes_program(program)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """
    The cluster of KUBECONFIG, the one of `make cluster`, or a new one that goes at the end of the run.

    Without any, the first test that asks is skipped with a sentence that says what is missing; in CI that is a failure,
    and so is a cluster that does not start. The others are skipped: they would only say it again.
    """
    if problem := _start_cluster(request):
        _lack("cluster", problem, request.config)
    return harness.connect()


@pytest.fixture(scope="session")
def api_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """
    The cluster; or, where this machine cannot run a node, an API server with its controllers: for tests that need no
    running pod. In CI it is the cluster.
    """
    problem = _start_cluster(request)
    if problem is None:
        yield harness.connect()
        return
    if not _may_lack(problem):
        _lack("api_server", problem, request.config)
    with ExitStack() as stack:
        try:
            server = stack.enter_context(serving(tmp_path_factory.mktemp("kubernetes")))
        except (CannotRun, OSError, RuntimeError, subprocess.SubprocessError) as error:
            _lack("api_server", error, request.config)
        yield server


def _start_cluster(request: pytest.FixtureRequest) -> Exception | None:
    """What keeps the tests from having a cluster. It is tried once."""
    refuse_to_share(request.session.items)
    stash = request.config.stash
    if _is_up not in stash and _problem not in stash:
        try:
            stash[_is_ours] = harness.given() is None and harness.up()
            stash[_is_up] = True
        except Exception as error:
            stash[_problem] = error
    return stash.get(_problem, None)


def _may_lack(problem: Exception) -> bool:
    return isinstance(problem, CannotRun) and not os.environ.get("CI")


def _lack(fixture: str, problem: Exception, config: pytest.Config) -> NoReturn:
    config.stash[_missing].add(fixture)
    if _may_lack(problem):
        pytest.skip(str(problem))
    pytest.fail(f"the tests must have a {NAMES[fixture]}: {problem}", pytrace=False)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.stash.get(_is_ours, False):
        harness.down()


def refuse_to_share(items: Sequence[pytest.Item]) -> None:
    """Two processes of pytest-xdist would take the cluster away from each other."""
    users = filter(uses_kubernetes, items)
    if "PYTEST_XDIST_WORKER" in os.environ and not all(item.nodeid.endswith("@cluster") for item in users):
        pytest.fail("tests that use the cluster are to stay in one process: add --dist=loadgroup", pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for fixture in item.config.stash[_missing].intersection(fixtures_of(item)):
        pytest.skip(f"there is no {NAMES[fixture]}: the first test that asked for it says why")


@pytest.fixture
def namespace(api_server: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own."""
    with fresh_namespace(api_server, request.node.name) as name:
        yield name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """
    Add to a failed test's report what its namespace looked like, for it is gone a moment later.
    """
    report = yield
    asked = getattr(item, "funcargs", {})
    cluster = asked.get("api_server", asked.get("cluster"))
    if report.when == "call" and report.failed and cluster and "namespace" in asked:
        report.sections.append((f"namespace {asked['namespace']}", describe(cluster, asked["namespace"])))
    return report


def describe(cluster: Cluster, namespace: str) -> str:
    """
    Events, pods, queues and logs of a namespace. What cannot be read is told instead of raised, for a test has failed
    already.
    """
    pods = _tell(cluster, namespace, "get", "pods", "--output=name").split()
    questions = [
        ("get", "events", "--sort-by=.lastTimestamp"),
        ("get", "deployments,pods,services", "--output=wide"),
        ("get", "shardedqueues", "--output=yaml"),
        *(("logs", pod, "--all-containers", "--prefix", "--tail=100") for pod in pods),
    ]
    return "\n".join(f"$ kubectl {' '.join(one)}\n{_tell(cluster, namespace, *one)}" for one in questions)


def _tell(cluster: Cluster, namespace: str, *arguments: str) -> str:
    try:
        return cluster.kubectl(*arguments, "--namespace", namespace, timeout=20)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        return str(error)
