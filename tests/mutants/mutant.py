"""What a mutant is, and the places that mutants name."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """In *file* of the package, *old* becomes *new*; at least one of *tests* (in tests/contract) has to fail then."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


PRELUDE, BIND, SETTLE, FAIL, REGISTER, REGISTER_DUE, RESHARD = (
    f"backends/redis/lua/{name}.lua"
    for name in ("_prelude", "bind", "settle", "fail", "register", "register_due", "reshard")
)
SIZES, CLOCK, LEASE, FORMAT, RELEASES = (
    f"test_{name}.py::test_" for name in ("sizes", "clock", "leases", "format", "releases")
)
SERVING, LIMITS, ENDING, FAILURES, LIFECYCLE, LOST_LEASES, MIDDLEWARE, LIFESPAN = (
    f"worker/test_{name}.py::test_"
    for name in ("serving", "limits", "ending", "failures", "lifecycle", "lost_leases", "middleware", "lifespan")
)
RECORDS, KEYS, FUZZ = (f"garbage/test_{name}.py::test_" for name in ("records", "keys", "fuzz"))
STORAGE, PRIORITIES, BACK_OFF, OBSERVING, COORDINATOR, REDIS, CONTROL, DUPLICATES, SCHEDULES, RESHARDING, LATE = (
    f"test_{name}.py::test_"
    for name in (
        "storage",
        "priorities",
        "back_off",
        "observing",
        "coordinator",
        "redis",
        "control",
        "deduplication",
        "schedules",
        "resharding",
        "late",
    )
)
ONE_BY_ONE, FAILED_BATCHES = "test_one_by_one.py::test_", "worker/test_failed_batches.py::test_"
STEPS = "test_bounded_steps.py::test_"
JOINT, JOINED = "backends/redis/joint.py", "test_joint.py::test_"
SYNC = "test_sync.py::test_"
URL = "test_url.py::test_"
PROCEDURES = "test_procedures.py::test_"
PEEK = "backends/redis/lua/peek.lua"
EVERY_SCRIPT = "test_every_script.py::test_a_command_that_comes_late_changes_nothing[{}]"
CONSOLE = "../console/test_application.py::test_"
BOUNDS = "../console/test_bounds.py::test_"
PROXIES = "../console/test_proxies.py::test_"
PEOPLE = "../console/test_people.py::test_"
LINKS = "../console/test_one_time_link.py::test_"
LIVE = "../console/test_live.py::test_"
ADDED_PAGES = "../console/test_added_pages.py::test_"
