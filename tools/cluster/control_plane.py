"""
etcd, the API server, the controllers and the scheduler: plain processes that listen on the node's address or loopback.

None of them needs root. `api_server` starts the first three alone, where no node can run.

Users are in a token file. The only certificate is the one that the API server signs for itself.
"""

import json
import secrets
import ssl
import subprocess
from contextlib import closing
from http.client import HTTPSConnection
from pathlib import Path

from tools.cluster.paths import NODE, NODE_ADDRESS, SERVICES
from tools.cluster.processes import Children, Processes, poll_until
from tools.ports import BUS, free_port

PEOPLE = {
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "system:kube-proxy": "",
    f"system:node:{NODE}": "system:nodes",
    "system:coredns": "system:masters",
}
"""User -> group. Kubernetes has roles for all of them except the name server, which may do everything here."""

PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


class ControlPlane:
    def __init__(
        self,
        state: Path,
        programs: Path,
        processes: Processes | Children,
        *,
        address: str = NODE_ADDRESS,
        port: int = 6443,
    ) -> None:
        self.state = state
        self.programs = programs
        self.pki = state / "pki"
        self.processes = processes
        self.address, self.port = address, port
        self.audit_log = state / "audit.log"

    def start(self) -> None:
        self.start_server()
        self.start_controllers()
        self.start_scheduler()

    def start_server(self, *options: str) -> None:
        self._write_identities()
        servers = self._start_etcd()
        self._start_server(servers, *options)
        poll_until(self.is_ready, f"API server (see {self.processes.log('kube-apiserver')})", seconds=60)
        self._write_kubeconfigs()

    def is_ready(self) -> bool:
        """
        Whether the API server says so. It answers this question without credentials.
        """
        context = ssl.create_default_context(cafile=str(self.pki / "apiserver.crt"))
        with closing(HTTPSConnection(self.address, self.port, context=context, timeout=2)) as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200

    def kubeconfig(self, user: str = "admin") -> Path:
        return self.state / ("kubeconfig" if user == "admin" else f"pki/{user.replace(':', '-')}.kubeconfig")

    def _write_identities(self) -> None:
        self.pki.mkdir(parents=True, mode=0o700)
        self.tokens = {user: secrets.token_hex(16) for user in PEOPLE}
        lines = [f'{self.tokens[user]},{user},{user},"{group}"\n' for user, group in PEOPLE.items()]
        (self.pki / "tokens.csv").write_text("".join(lines))
        key = self.pki / "sa.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        # Which user did what to which object, without bodies: enough to prove that a role grants only what is used.
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"]}
        (self.pki / "audit.json").write_text(json.dumps(policy | {"rules": [{"level": "Metadata"}]}))

    def _start_etcd(self) -> str:
        port = free_port()
        clients, peers = (f"http://127.0.0.1:{each}" for each in (port, port + BUS))
        self.processes.start(
            "etcd",
            self.programs / "etcd",
            f"--data-dir={self.state / 'etcd'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",  # its data need not survive a crash of the machine
            "--log-level=warn",
        )
        return clients

    def _start_server(self, etcd: str, *options: str) -> None:
        self.processes.start(
            "kube-apiserver",
            self.programs / "kube-apiserver",
            f"--etcd-servers={etcd}",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--secure-port={self.port}",
            f"--cert-dir={self.pki}",
            f"--token-auth-file={self.pki / 'tokens.csv'}",
            f"--service-account-key-file={self.pki / 'sa.key'}",
            f"--service-account-signing-key-file={self.pki / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-cluster-ip-range={SERVICES}",
            "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",
            f"--audit-policy-file={self.pki / 'audit.json'}",
            f"--audit-log-path={self.audit_log}",
            *options,
        )

    def _write_kubeconfigs(self) -> None:
        for user, token in self.tokens.items():
            cluster = {
                "server": f"https://{self.address}:{self.port}",
                "certificate-authority": str(self.pki / "apiserver.crt"),
            }
            content = {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "tests", "cluster": cluster}],
                "users": [{"name": user, "user": {"token": token}}],
                "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user}}],
                "current-context": "tests",
            }
            path = self.kubeconfig(user)
            path.touch(mode=0o600)
            path.write_text(json.dumps(content))

    def start_controllers(self, *options: str) -> None:
        self.processes.start(
            "kube-controller-manager",
            self.programs / "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig('system:kube-controller-manager')}",
            f"--service-account-private-key-file={self.pki / 'sa.key'}",
            f"--root-ca-file={self.pki / 'apiserver.crt'}",
            "--use-service-account-credentials",
            f"--bind-address={self.address}",
            "--leader-elect=false",
            *options,
        )

    def start_scheduler(self) -> None:
        self.processes.start(
            "kube-scheduler",
            self.programs / "kube-scheduler",
            f"--kubeconfig={self.kubeconfig('system:kube-scheduler')}",
            f"--bind-address={self.address}",
            "--leader-elect=false",
        )
