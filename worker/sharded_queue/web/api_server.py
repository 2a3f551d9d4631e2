"""
The API server of the cluster that this pod is in, asked with the token of the pod's own account.

Only lists are asked for, which Python can do by itself: a client of Kubernetes would be a large package in each worker.
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from socket import SHUT_RDWR, socket
from threading import Timer
from urllib.parse import urlencode

from sharded_queue.printable import printable

MOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has the token of its account, and the certificate authority of the API server."""
SECONDS = 4.0
"""For an answer. An API server that takes longer counts as silent, whatever it has sent until then."""
MOST_BYTES = 8 * 2**20
"""Hundreds of large resources. It bounds what an answer takes of the console's memory."""


class ApiServerSilent(Exception):
    """There is no answer to use; the message says why."""


@dataclass(frozen=True)
class ApiServer:
    """*mount*: the folder with `token` and `ca.crt`."""

    host: str
    port: int
    mount: Path = MOUNT
    seconds: float = SECONDS
    most_bytes: int = MOST_BYTES

    @classmethod
    def of_this_pod(cls, environment: Mapping[str, str] = os.environ, mount: Path = MOUNT) -> "ApiServer | None":
        """None where this is no pod, or one without a token."""
        host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "")
        return cls(host, int(port), mount) if host and port.isdigit() and (mount / "token").exists() else None

    def get(self, path: str, **parameters: object) -> bytes:
        """
        The body of an answer. Blocks; call it in an OS thread of its own.

        Raises:
            ApiServerSilent: there is none, or not within *seconds*, or it is too large, or a refusal.
        """
        try:
            connection = HTTPSConnection(self.host, self.port, timeout=self.seconds, context=self._trust())
            connection.connect()
            with connection.sock, ended_after(self.seconds, connection.sock):
                headers = {"Authorization": f"Bearer {self._token()}", "Accept": "application/json"}
                connection.request("GET", f"{path}?{urlencode(parameters)}", headers=headers)
                with connection.getresponse() as answer:
                    return self._body(answer)
        except (OSError, HTTPException, ValueError) as error:
            said = printable(error, 200) or type(error).__name__
            raise ApiServerSilent(f"the API server does not answer: {said}") from error

    def _token(self) -> str:
        """Read each time, because the kubelet replaces it within the hour."""
        return (self.mount / "token").read_text().strip()

    def _trust(self) -> ssl.SSLContext:
        trust = ssl.create_default_context(cafile=self.mount / "ca.crt")
        trust.verify_flags &= ~ssl.VERIFY_X509_STRICT  # from Python 3.13 on, it refuses authorities of some clusters
        return trust

    def _body(self, answer: HTTPResponse) -> bytes:
        if answer.status == 403:
            raise ApiServerSilent("the API server refuses: the account of this pod may not list ShardedQueues")
        if answer.status == 404:
            raise ApiServerSilent("the API server knows no ShardedQueues: their definition is not installed")
        if answer.status != 200:
            raise ApiServerSilent(f"the API server answers {answer.status} {printable(answer.reason, 100)}")
        body = answer.read(self.most_bytes + 1)
        if len(body) > self.most_bytes:
            raise ApiServerSilent(f"the list of ShardedQueues has more than {self.most_bytes:,} bytes")
        if answer.length:
            raise ApiServerSilent("the API server does not answer: its answer was cut off")
        return body


@contextmanager
def ended_after(seconds: float, connection: socket) -> Iterator[None]:
    """The time-out of a socket is for each piece that it reads; this one is for all of them."""

    def end() -> None:
        with suppress(OSError):  # it has ended by itself
            connection.shutdown(SHUT_RDWR)

    timer = Timer(seconds, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
