"""
What tests ask for: `cluster`, one for the whole run, and `namespace`, a fresh one for each test.

Loaded by `pytest_plugins = ["tests.cluster.fixtures"]`. What takes minutes the first time happens between collecting
and running, for a test's time limit counts its fixtures; and only when a test that will run asks for a cluster. For the
same reason the cluster is taken down after the last test, and not by its fixture.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence

import pytest

from tools.cluster import cluster as harness
from tools.cluster.cluster import Cluster
from tools.cluster.namespace import fresh_namespace
from tools.cluster.paths import CannotRun

_problem = pytest.StashKey[Exception]()
_is_missing = pytest.StashKey[bool]()
_is_ours = pytest.StashKey[bool]()


def pytest_collection_finish(session: pytest.Session) -> None:
    wanted = any("cluster" in getattr(item, "fixturenames", ()) for item in session.items)
    if not wanted or session.config.option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():
            harness.prepare()
    except Exception as error:  # told by the tests that asked for a cluster; the others run
        session.config.stash[_problem] = error


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """
    The cluster of KUBECONFIG, the one of `make cluster`, or a new one that goes at the end of the run.

    Without any, the first test that asks is skipped with a sentence that says what is missing; in CI that is a failure,
    and so is a cluster that does not start. The others are skipped: they would only say it again.
    """
    refuse_to_share(request.session.items)
    problem = request.config.stash.get(_problem, None)
    try:
        request.config.stash[_is_ours] = problem is None and harness.given() is None and harness.up()
    except Exception as error:
        problem = error
    if problem:
        request.config.stash[_is_missing] = True
        if isinstance(problem, CannotRun) and not os.environ.get("CI"):
            pytest.skip(str(problem))
        pytest.fail(f"the tests must have a cluster: {problem}", pytrace=False)
    return harness.connect()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.stash.get(_is_ours, False):
        harness.down()


def refuse_to_share(items: Sequence[pytest.Item]) -> None:
    """Two processes of pytest-xdist would take the cluster away from each other."""
    users = [item for item in items if "cluster" in getattr(item, "fixturenames", ())]
    if "PYTEST_XDIST_WORKER" in os.environ and not all(item.nodeid.endswith("@cluster") for item in users):
        pytest.fail("tests that use the cluster are to stay in one process: add --dist=loadgroup", pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.config.stash.get(_is_missing, False) and "cluster" in getattr(item, "fixturenames", ()):
        pytest.skip("there is no cluster: the first test that asked for it says why")


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own."""
    with fresh_namespace(cluster, request.node.name) as name:
        yield name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """
    Add to a failed test's report what its namespace looked like, for it is gone a moment later.
    """
    report = yield
    asked = getattr(item, "funcargs", {})
    if report.when == "call" and report.failed and "namespace" in asked and "cluster" in asked:
        report.sections.append((f"namespace {asked['namespace']}", describe(asked["cluster"], asked["namespace"])))
    return report


def describe(cluster: Cluster, namespace: str) -> str:
    """
    Events, pods and logs of a namespace; what cannot be read is told instead of raised, for a test has failed already.
    """
    pods = _tell(cluster, namespace, "get", "pods", "--output=name").split()
    questions = [
        ("get", "events", "--sort-by=.lastTimestamp"),
        ("get", "deployments,pods,services", "--output=wide"),
        *(("logs", pod, "--all-containers", "--prefix", "--tail=100") for pod in pods),
    ]
    return "\n".join(f"$ kubectl {' '.join(one)}\n{_tell(cluster, namespace, *one)}" for one in questions)


def _tell(cluster: Cluster, namespace: str, *arguments: str) -> str:
    try:
        return cluster.kubectl(*arguments, "--namespace", namespace, timeout=20)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        return str(error)
