"""The console of a session: a page in a browser, beside the table in the terminal."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from sharded_queue_operator.local.local_redis import free_port
from sharded_queue_operator.local.processes import start_process, stop_process
from sharded_queue_operator.resource.spec import Resource


@asynccontextmanager
async def local_console(
    resource: Resource, folder: Path, logs: Path, environment: Mapping[str, str]
) -> AsyncIterator[str | None]:
    """Its address, as long as the session runs; None where the extra `web` is not installed."""
    if not (resource.spec.worker and find_spec("starlette") and find_spec("uvicorn")):
        yield None
        return
    port = free_port()
    command = [sys.executable, "-m", "sharded_queue", "web", "--port", str(port)]
    command += [f"--module={module}" for module in resource.spec.worker.modules]
    command += [handler.name for handler in resource.spec.handlers]
    process = await start_process(command, folder, environment, logs / "console.log")
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        await stop_process(process)
