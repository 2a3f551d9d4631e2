"""
Substitutes for public images, made from Debian's packages: no image registry is asked for anything.

They carry the names that the Dockerfiles and manifests use, so those are built and run unchanged. Debian's Python is
3.11.2 and its Redis 7.0; what the public images have besides (their exact patch version, their layers) is not tested.
"""

import subprocess
from pathlib import Path
from typing import NamedTuple

from tools.cluster import layers
from tools.cluster.paths import CACHE, digest
from tools.cluster.progress import step


class SubstituteImage(NamedTuple):
    tag: str
    packages: tuple[str, ...]
    config: tuple[str, ...]
    entry: str = ""
    """A script at /usr/local/bin/docker-entrypoint.sh, where the public image has one."""


REDIS_ENTRY = """\
#!/bin/sh
# As in the public image: options alone mean options of the server.
case "$1" in -*|*.conf) set -- redis-server "$@" ;; esac
exec "$@"
"""

PATH = ("--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")

PYTHON = SubstituteImage(
    "docker.io/library/python:3.11-slim",
    ("python3", "python3-venv", "python-is-python3", "ca-certificates"),
    ("--cmd", "python3", "--env", "LANG=C.UTF-8", *PATH),
)
REDIS = SubstituteImage(
    "docker.io/library/redis:7",
    ("redis-server", "redis-tools"),
    (
        *("--entrypoint", '["docker-entrypoint.sh"]', "--cmd", "redis-server"),
        *("--workingdir", "/data", "--port", "6379", *PATH),
    ),
    REDIS_ENTRY,
)


def provide(image: SubstituteImage) -> str:
    """
    Make the image unless the cache has it; returns what its content depends on, as a key.
    """
    key = digest([Path(__file__)], salt=image.tag)
    if layers.built(image.tag) != key:
        with step(f"making a substitute for {image.tag} from Debian's packages"):
            _make(image)
        layers.keep(image.tag, key)
    return key


def pause() -> str:
    """
    The image whose one process holds a pod's network: `sleep` of the Python substitute, so it adds no layer.
    """
    tag = "localhost/pause:1"
    key = provide(PYTHON) + "+sleep"
    if layers.built(tag) != key:
        container = layers.buildah("from", "--pull-never", PYTHON.tag)
        _commit(container, tag, "--entrypoint", '["sleep", "infinity"]', "--cmd", "")
        layers.keep(tag, key)
    return tag


def _make(image: SubstituteImage) -> None:
    archive = CACHE / "root.tar"
    include = f"--include={','.join(image.packages)}"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", include, "bookworm", archive, _sources()],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    container = layers.buildah("from", "scratch")
    layers.buildah("add", "--quiet", container, archive, "/")
    archive.unlink()
    if image.entry:
        script = CACHE / "docker-entrypoint.sh"
        script.write_text(image.entry)
        layers.buildah("add", "--quiet", "--chmod", "755", container, script, "/usr/local/bin/docker-entrypoint.sh")
    _commit(container, image.tag, *image.config)


def _commit(container: str, tag: str, *config: str) -> None:
    layers.buildah("config", *config, container)
    layers.buildah("commit", "--quiet", "--rm", container, tag)


def _sources() -> Path:
    """
    Where this machine itself gets its packages from.
    """
    modern = Path("/etc/apt/sources.list.d/debian.sources")
    return modern if modern.exists() else Path("/etc/apt/sources.list")
