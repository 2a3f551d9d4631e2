"""
Image layers: kept by buildah in the cache, handed to the node's containerd one by one.

Only layers that containerd does not have yet are sent, so that a changed line of Python costs a small layer and not
the whole image. Notes beside the layers say which content a tag was built from.
"""

import contextlib
import io
import json
import os
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import IO, Any

from tests.cluster.node import Node
from tests.cluster.places import CACHE

ROOT = CACHE / "images"
LAYOUT = ROOT / "layout"
"""An OCI image layout: `blobs/sha256/` and an index of tags."""

NAME = "org.opencontainers.image.ref.name"


def buildah(*arguments: str | Path) -> str:
    """
    Run buildah on its own storage, so that neither Docker's nor the user's images are touched.
    """
    ROOT.mkdir(parents=True, exist_ok=True)
    config = ROOT / "storage.conf"
    config.write_text(f'[storage]\ndriver = "overlay"\nrunroot = "{ROOT}/run"\ngraphroot = "{ROOT}/storage"\n')
    # chroot: no namespaces of its own, which containers and CI machines often refuse.
    env = os.environ | {"CONTAINERS_STORAGE_CONF": str(config), "BUILDAH_ISOLATION": "chroot"}
    done = subprocess.run(["buildah", *arguments], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"buildah {arguments[0]} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout.strip()


def built(tag: str) -> str:
    """
    The key of what *tag* was last built from; empty when it never was.
    """
    return _notes().get(tag, "")


def note_built(tag: str, key: str) -> None:
    buildah("push", "--quiet", tag, f"oci:{LAYOUT}:{tag}")
    notes = _notes() | {tag: key}
    part = ROOT / ".built.part"
    part.write_text(json.dumps(notes))
    part.rename(ROOT / "built.json")


def load(tag: str, node: Node) -> bool:
    """
    Give an image to the node; false when it has exactly this one already.
    """
    entry = _entry(tag)
    if f"{tag} {entry['digest']}" in _loaded(node):
        return False
    there = set(node.ctr("content", "list", "--quiet").split())
    blobs = _blobs(entry["digest"])
    try:
        _import(entry, [blob for blob in blobs if blob not in there], node)
    except RuntimeError:  # one of those that were there belonged to a replaced image and has just been swept away
        _import(entry, blobs, node)
    return True


def _import(entry: dict[str, Any], blobs: list[str], node: Node) -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as archive:
        sender = threading.Thread(target=_send, args=(os.fdopen(write, "wb"), entry, blobs))
        sender.start()
        node.ctr("images", "import", "--digests=false", "-", stdin=archive)
    sender.join()


def _loaded(node: Node) -> set[str]:
    rows = [line.split() for line in node.ctr("images", "list").splitlines()[1:]]
    return {f"{row[0]} {row[2]}" for row in rows}


def _send(pipe: IO[bytes], entry: dict[str, Any], blobs: list[str]) -> None:
    """
    Write an archive of one image that leaves out the blobs that the other side has.
    """
    index = {"schemaVersion": 2, "manifests": [entry]}
    # A broken pipe means that containerd refused; its own words are raised where it was asked.
    with contextlib.suppress(BrokenPipeError), pipe, tarfile.open(fileobj=pipe, mode="w|") as archive:
        archive.add(LAYOUT / "oci-layout", "oci-layout")
        text = json.dumps(index).encode()
        header = tarfile.TarInfo("index.json")
        header.size = len(text)
        archive.addfile(header, io.BytesIO(text))
        for blob in blobs:
            archive.add(_path(blob), f"blobs/sha256/{blob.removeprefix('sha256:')}")


def _entry(tag: str) -> dict[str, Any]:
    """
    The tag's line of the index, with the annotation by which containerd takes the full name.

    Lines without annotations are images that once had the tag.
    """
    manifests = json.loads((LAYOUT / "index.json").read_text())["manifests"]
    entry: dict[str, Any] = next(one for one in manifests if one.get("annotations", {}).get(NAME) == tag)
    return entry | {"annotations": {"io.containerd.image.name": tag}}


def _blobs(manifest: str) -> list[str]:
    content = json.loads(_path(manifest).read_text())
    return [manifest, content["config"]["digest"], *(layer["digest"] for layer in content["layers"])]


def _path(blob: str) -> Path:
    return LAYOUT / "blobs" / "sha256" / blob.removeprefix("sha256:")


def _notes() -> dict[str, str]:
    path = ROOT / "built.json"
    return json.loads(path.read_text()) if path.exists() else {}
