"""`python -m sharded_queue` and the program `sharded-queue`, which an in-memory user need not be able to run."""

import gc
import sys


def main() -> None:
    gc.disable()  # until the command is imported: to look through what stays took a tenth of that time
    try:
        from sharded_queue.cli import program  # noqa: PLC0415 - fails without the extra `worker`
    except ModuleNotFoundError as error:
        sys.exit(f"sharded-queue: {error.name} is not installed; run pip install 'sharded-queue[worker]'")
    program.main()


if __name__ == "__main__":
    main()
