"""
The API server as a handful of verbs on plain dicts.

Dicts and server-side apply, because the client's models drop every field that they do not know.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping

from aiohttp import ClientError, ClientPayloadError, ClientResponse
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from sharded_queue.release import release
from sharded_queue_operator import metrics
from sharded_queue_operator.errors import ApiGone, ApiRefused
from sharded_queue_operator.resource.deployment import MANAGER, Manifest
from sharded_queue_operator.resource.name import Name
from sharded_queue_operator.resource.spec import API_VERSION, PLURAL

PAGE = 250
"""Objects in one page of a list: some 3 MB of pods, which take 20 ms to parse."""

GONE = 404
REFUSED = 400
NO_ANSWER = 0

LONGEST_RETRY_SECONDS = 60.0
"""Of a Retry-After. A server that sheds load asks for a second."""

APPLY = "application/apply-patch+yaml; charset=utf-8"
SURROGATES = re.compile(r"\\\\|(\\ud[89ab]\w\w\\ud[c-f]\w\w)")


def core(kind: str, name: Name | None = None, namespace: str = "") -> str:
    return path_of("/api/v1", kind, name, namespace)


def apps(kind: str, name: Name | None = None, namespace: str = "") -> str:
    return path_of("/apis/apps/v1", kind, name, namespace)


def queues(name: Name | None = None, namespace: str = "") -> str:
    return path_of(f"/apis/{API_VERSION}", PLURAL, name, namespace)


def path_of(group: str, kind: str, name: Name | None, namespace: str) -> str:
    namespace = name.namespace if name else namespace
    scope = f"{group}/namespaces/{namespace}" if namespace else group
    return f"{scope}/{kind}/{name.name}" if name else f"{scope}/{kind}"


def version_of(body: Manifest) -> int:
    return int(body["metadata"]["resourceVersion"])


def is_newer(body: Manifest, known: Manifest) -> bool:
    """Versions grow; the answer to our write may come before older news from the watch."""
    return version_of(body) >= version_of(known)


class Api:
    """
    Every method raises `ApiRefused` when the server did not do what was asked, with status 0 for no answer. One of more
    than *most_bytes* counts as none.
    """

    def __init__(self, client: ApiClient, timeout_seconds: float, most_bytes: int | None = None) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._most_bytes = most_bytes

    @classmethod
    async def connected(cls, timeout_seconds: float, most_bytes: int | None = None) -> "Api":
        """With the service account of this pod, or else the user's kubeconfig."""
        settings = Configuration()
        await config.load_config(client_configuration=settings)  # type: ignore[no-untyped-call]  # unlike its package
        client = ApiClient(settings)
        client.user_agent = f"{MANAGER}/{release()}"
        return cls(client, timeout_seconds, most_bytes)

    async def get(self, path: str, **query: str) -> Manifest:
        return await self.call("GET", path, query=query)

    async def pages(self, path: str, selector: str = "") -> AsyncIterator[tuple[list[Manifest], int]]:
        """
        All objects of a list, a page at a time, and with each page the version of the list. To parse 10,000 pods in one
        piece takes seconds and hundreds of MiB.
        """
        query = {"labelSelector": selector, "limit": str(PAGE)}
        while True:
            answer = await self.get(path, **query)
            metadata = answer.get("metadata") or {}
            yield answer.get("items") or [], int(metadata.get("resourceVersion") or 0)
            if not metadata.get("continue"):
                return
            query["continue"] = metadata["continue"]

    async def find(self, path: str) -> Manifest | None:
        """As `get`; None when the object does not exist."""
        try:
            return await self.get(path)
        except ApiGone:
            return None

    async def apply(self, path: str, manifest: Manifest) -> Manifest:
        """Server-side apply: the fields of *manifest* become ours, and all others stay as they are."""
        query = {"fieldManager": MANAGER, "force": "true"}
        return await self.call("PATCH", path, as_yaml(manifest), APPLY, query)

    async def merge(self, path: str, patch: Manifest) -> Manifest:
        return await self.call("PATCH", path, patch, "application/merge-patch+json", {"fieldManager": MANAGER})

    async def create(self, path: str, manifest: Manifest) -> Manifest:
        return await self.call("POST", path, manifest)

    async def replace(self, path: str, manifest: Manifest) -> Manifest:
        """Refused with status 409 when the object was written after *manifest* was read."""
        return await self.call("PUT", path, manifest)

    async def call(
        self,
        verb: str,
        path: str,
        body: Manifest | str | None = None,
        content: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Manifest:
        try:
            status, text, asked = await self._send(verb, path, body, content, query or {})
        except (ClientError, OSError, TimeoutError) as error:
            metrics.api_calls.labels(verb, "none").inc()
            raise ApiRefused(NO_ANSWER, f"{verb} {path}: {type(error).__name__} {error}") from error
        metrics.api_calls.labels(verb, str(status)).inc()
        if status >= REFUSED:
            raise _refusal(status, text, f"{verb} {path}", asked)
        answer: Manifest = json.loads(text)
        return answer

    async def _send(
        self, verb: str, path: str, body: Manifest | str | None, content: str, query: Mapping[str, str]
    ) -> tuple[int, bytes, str]:
        """The status, the answer, and for how long the server asks to be left alone."""
        method, url, headers, _, _ = await self._client.param_serialize(
            verb,
            path,
            query_params=list(query.items()),
            header_params={"Accept": "application/json", "Content-Type": content},
            auth_settings=["BearerToken"],
        )
        async with asyncio.timeout(self._timeout_seconds):
            answer = await self._client.call_api(
                method, url, headers, body=body, _request_timeout=self._timeout_seconds
            )
            return answer.status, await self._text(answer.response), answer.headers.get("Retry-After", "")

    async def _text(self, answer: ClientResponse) -> bytes:
        if self._most_bytes is None:
            return await answer.read()
        text = bytearray()
        try:
            async for piece in answer.content.iter_any():
                text += piece
                if len(text) > self._most_bytes:
                    raise ClientPayloadError(f"the answer has more than {self._most_bytes:,} bytes")
        except BaseException:
            if answer.connection and answer.connection.transport:
                answer.connection.transport.abort()  # a server that drips is not asked for a farewell
            answer.close()
            raise
        return bytes(text)

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]  # unlike its package


def as_yaml(manifest: Manifest) -> str:
    """JSON is YAML, except for characters beyond U+FFFF: JSON writes surrogate pairs, which YAML does not accept."""
    return SURROGATES.sub(lambda found: json.loads(f'"{found[1]}"') if found[1] else found[0], json.dumps(manifest))


def _refusal(status: int, text: bytes, call: str, asked: str) -> ApiRefused:
    try:
        message = str(json.loads(text).get("message", ""))
    except (ValueError, AttributeError):
        message = text[:200].decode(errors="replace")
    seconds = min(float(asked), LONGEST_RETRY_SECONDS) if asked.isdecimal() else 0.0
    pause = f" (it asks to wait for {seconds:.0f} s)" if seconds else ""
    kind = ApiGone if status == GONE else ApiRefused
    return kind(status, f"{call}: {status} {message}{pause}", seconds)
