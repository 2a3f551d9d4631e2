"""Tests run in a random order that a seed repeats."""

import pytest

pytestmark = pytest.mark.slow

pytest_plugins = ["pytester"]

CONFTEST = """
from tests.harness import order

SEED = order.seed("ORDER_SEED")

def pytest_collection_modifyitems(items):
    items[:] = order.shuffle(items, SEED)
"""
FILE = """
import pytest

@pytest.fixture(scope="module")
def opened():
    print("opened")

@pytest.mark.parametrize("number", range(20))
def test_number(opened, number):
    print(__name__, number)
"""


def run(pytester: pytest.Pytester, *words: str) -> list[str]:
    """What the tests printed, in the order in which they ran."""
    lines = pytester.runpytest_subprocess("-s", "-q", "-p", "no:cacheprovider", *words).outlines
    return [line.lstrip(".") for line in lines if line.lstrip(".").startswith(("opened", "test_"))]


@pytest.fixture
def files(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> pytest.Pytester:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_one=FILE, test_two=FILE)
    monkeypatch.setenv("PYTHONPATH", str(pytestconfig.rootpath))
    monkeypatch.delenv("ORDER_SEED", raising=False)
    return pytester


def test_a_seed_repeats_an_order(files: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDER_SEED", "7")
    first = run(files)
    assert first == run(files)

    monkeypatch.setenv("ORDER_SEED", "8")
    second = run(files)
    assert sorted(first) == sorted(second)
    assert first != second


def test_what_a_file_opens_once_is_still_opened_once(files: pytest.Pytester) -> None:
    assert run(files).count("opened") == 2


def test_processes_of_xdist_agree_on_an_order(files: pytest.Pytester) -> None:
    """Otherwise xdist refuses: different tests were collected."""
    files.runpytest_subprocess("-q", "--numprocesses=2", "--dist=loadgroup").assert_outcomes(passed=40)


def test_what_takes_long_comes_first(files: pytest.Pytester) -> None:
    files.makepyfile(test_long="import pytest\n@pytest.mark.long\ndef test_it(): print(__name__)")
    files.makeini("[pytest]\nmarkers = long")
    assert run(files)[0] == "test_long"
