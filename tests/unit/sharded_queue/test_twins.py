"""The engine is described twice, in Lua and in memory: one file a step, of the same name on both sides."""

from pathlib import Path

from sharded_queue.backends.memory import steps
from sharded_queue.backends.redis import scripts

REDIS_ONLY = {
    "drop_from_pipe": "moves requests of the predecessor, which kept them in Redis",
    "kinds": "memory holds no values of others",
    "snapshot": "tests read the state of a shard in memory as it is",
    "read_pipe": "reads requests of the predecessor, which kept them in Redis",
    "repair": "nothing but the steps writes to memory",
}
"""Scripts without a step in memory, and why."""


def stems(folder: Path, ending: str) -> set[str]:
    return {path.stem for path in folder.glob(f"*{ending}") if not path.stem.startswith("_")}


def test_each_script_has_its_step_in_memory() -> None:
    in_lua = stems(Path(scripts.__file__).parent / "lua", ".lua")
    in_memory = stems(Path(steps.__file__).parent, ".py")

    assert in_lua - in_memory == REDIS_ONLY.keys()
    assert in_memory - in_lua == set()
