"""A certificate authority for tests, and a redis-server that speaks TLS only, with a certificate that it signed."""

import shutil
import socket
import ssl
import subprocess
from pathlib import Path

from tests.harness.requirements import lack
from tools.redis_server import RedisServer

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
SECONDS = 20


def require_openssl() -> None:
    if shutil.which("openssl"):
        return
    lack("no openssl on PATH: install it with your package manager")


class Authority:
    """Signs certificates; *file* is what those need who are to trust them."""

    def __init__(self, folder: Path) -> None:
        require_openssl()
        self.folder, self.file = folder, folder / "ca.crt"
        folder.mkdir(parents=True, exist_ok=True)
        self._run("req", "-x509", *KEY, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=tests")

    def sign(self, name: str, hosts: str) -> tuple[Path, Path]:
        """A certificate for *hosts*, and its key."""
        (self.folder / "hosts").write_text(f"subjectAltName={hosts}")
        self._run("req", *KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", "/CN=localhost")
        authority = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "hosts")
        self._run("x509", "-req", "-in", f"{name}.csr", *authority, "-out", f"{name}.crt")
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"

    def _run(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True, timeout=SECONDS)


class TlsServer(RedisServer):
    """Serves TLS on its port, and nothing else."""

    hosts = "DNS:localhost,IP:127.0.0.1"

    def __init__(self, folder: Path, authority: Authority, **options: str) -> None:
        self.authority = authority
        certificate, key = authority.sign(folder.name, self.hosts)
        files = {"tls-cert-file": str(certificate), "tls-key-file": str(key), "tls-ca-cert-file": str(authority.file)}
        super().__init__(folder, **files, **{"tls-auth-clients": "no"}, **options)

    def _command(self) -> list[str]:
        words = super()._command()
        words[words.index("--port")] = "--tls-port"
        return [*words, "--port", "0"]

    def _connect(self) -> socket.socket:
        trusting = ssl.create_default_context(cafile=str(self.authority.file))
        trusting.check_hostname = False
        return trusting.wrap_socket(super()._connect())
