"""
The project's images, built from its own Dockerfiles as they are, and rebuilt only when what goes into them changed.

Packages come from wheels that were downloaded for the image's Python beforehand: a pip.conf mounted into the build says
so, and the Dockerfiles know nothing about it.
"""

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tools.cluster import layers, substitute_images
from tools.cluster.paths import CACHE, REPOSITORY, digest
from tools.cluster.progress import step

LOCKS = tuple(
    REPOSITORY / name for name in ("build-requirements.lock", "worker/requirements.lock", "operator/requirements.lock")
)
GLIBC = 36
"""Debian 12 has glibc 2.36: wheels for it and for anything older run there."""


class Image(NamedTuple):
    tag: str
    dockerfile: str
    context: str
    inputs: tuple[str, ...]
    """What is copied into it: files and folders of the repository."""
    base: str = ""
    """Tag of another image of the project, built before it."""


COMMON = ("pyproject.toml", "README.md", "LICENSE", "build-requirements.lock", "worker/sharded_queue")
WORKER = "localhost/sharded-queue-worker:dev"
OPERATOR = "localhost/sharded-queue-operator:dev"

IMAGES = (
    Image(WORKER, "worker/Dockerfile", ".", (*COMMON, "worker/requirements.lock")),
    Image(
        OPERATOR,
        "operator/Dockerfile",
        ".",
        (*COMMON, "operator/requirements.lock", "operator/sharded_queue_operator"),
    ),
    Image(
        "localhost/notifications:dev",
        "examples/notifications/Dockerfile",
        "examples/notifications",
        ("examples/notifications",),
        base=WORKER,
    ),
)


def provide() -> list[str]:
    """
    Build what changed; returns the tags of all images that tests may run, the Redis substitute among them.
    """
    substitute_images.provide(substitute_images.REDIS)
    keys = {"": substitute_images.provide(substitute_images.PYTHON)}
    for image in IMAGES:
        if (REPOSITORY / image.dockerfile).exists():
            keys[image.tag] = _provide(image, keys[image.base])
    return [substitute_images.PYTHON.tag, substitute_images.REDIS.tag, *filter(None, keys)]


def _provide(image: Image, base: str) -> str:
    inputs = [REPOSITORY / name for name in (image.dockerfile, ".dockerignore", *image.inputs)]
    key = digest(inputs, salt=base)
    if layers.built(image.tag) != key:
        with step(f"building {image.tag} from {image.dockerfile}"):
            _build(image)
        layers.keep(image.tag, key)
    return key


def _build(image: Image) -> None:
    folder = wheels()
    config = folder.with_suffix(".conf")
    config.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    layers.buildah(
        *("build-using-dockerfile", "--quiet", "--layers", "--pull-never", "--tag", image.tag),
        *("--volume", f"{config}:/etc/pip.conf:ro", "--volume", f"{folder}:/wheels:ro"),
        *("--file", REPOSITORY / image.dockerfile, REPOSITORY / image.context),
    )


def wheels() -> Path:
    """
    A folder with every wheel the images install, for their Python and not for ours; downloaded once a lock.
    """
    folder = CACHE / "wheels" / digest([*LOCKS, Path(__file__)])
    if not folder.exists():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        with step("downloading wheels for the images"):
            for lock in LOCKS:
                _download(part, "--no-deps", "--require-hashes", "--requirement", _for_the_image(lock, part))
        part.rename(folder)
    return folder


def _for_the_image(lock: Path, folder: Path) -> Path:
    """
    The lock without conditions on the Python version: pip would ask them of the Python that runs us, not the image's.
    """
    path = folder / f"{lock.parent.name}-{lock.stem}.txt"
    path.write_text(re.sub(r" ; python_full_version < '3\.11\.3'", "", lock.read_text()))
    return path


def _download(folder: Path, *arguments: str | Path) -> None:
    machine = platform.machine()
    platforms = ["any", f"manylinux2014_{machine}", *(f"manylinux_2_{n}_{machine}" for n in range(17, GLIBC + 1))]
    target = ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp"]
    target += [f"--abi={abi}" for abi in ("cp311", "abi3", "none")] + [f"--platform={name}" for name in platforms]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *target, "--dest", folder, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"wheels for the images: {done.stderr.strip()[-2000:]}")
