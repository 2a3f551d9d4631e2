"""
Namespaces for one use.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from tools.cluster.cluster import Cluster


@contextmanager
def fresh_namespace(cluster: Cluster, purpose: str) -> Iterator[str]:
    """
    A namespace that is deleted when the block ends, without waiting for its pods.
    """
    readable = re.sub(r"[^a-z0-9]+", "-", purpose.lower()).strip("-")[:40].strip("-")
    name = f"{readable}-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("wait", "--for=create", "--namespace", name, "serviceaccount/default")
    try:
        yield name
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")
        cluster.kubectl("delete", "pods", "--all", "--namespace", name, "--grace-period=1", "--wait=false")
