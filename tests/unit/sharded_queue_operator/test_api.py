from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import ApiClient, Configuration

from sharded_queue_operator.cluster.api import Api, as_yaml, is_newer
from sharded_queue_operator.errors import ApiRefused


@pytest.mark.parametrize(
    "text", ["\U0001f6d1", "\\ud83d\\uded1", "\\\U0001f6d1", "\x00\x7f\x85\u2028\ufeff\ufffe", "é"]
)
def test_every_character_can_be_applied(text: str) -> None:
    """Characters beyond U+FFFF once made the server refuse a whole Deployment as invalid YAML."""
    manifest = {"env": [{"name": text, "value": text}]}

    assert yaml.safe_load(as_yaml(manifest)) == manifest


def test_versions_show_which_news_is_newer() -> None:
    def body(version: str) -> dict[str, Any]:
        return {"metadata": {"resourceVersion": version}}

    assert is_newer(body("10"), body("9"))
    assert not is_newer(body("9"), body("10"))
    assert is_newer(body("10"), body("10"))


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("3600", 60.0), ("soon", 0.0), ("-1", 0.0)])
async def test_a_pause_that_the_server_asks_for_is_told(header: str, seconds: float) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"message": "too many requests"}, status=429, headers={"Retry-After": header})

    app = web.Application()
    app.router.add_get("/pods", refuse)
    async with TestServer(app) as server:
        api = Api(ApiClient(Configuration(host=str(server.make_url("")).rstrip("/"))), 5)
        with pytest.raises(ApiRefused) as refused:
            await api.get("/pods")
        await api.close()

    assert refused.value.retry_seconds == seconds
    assert (f"it asks to wait for {seconds:.0f} s" in str(refused.value)) == bool(seconds)
