"""
Image layers: built by buildah, kept one by one in the cache, and sent one by one to the containerd of the node.

Only layers that containerd lacks are sent, uncompressed, so that a changed line of Python costs a small layer rather
than the whole image. A note beside the layers records the content that each tag was built from.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import IO, Any

from tools.cluster.node import Node
from tools.cluster.paths import CACHE

ROOT = CACHE / "images"
BLOBS = ROOT / "blobs"
NOTES = ROOT / "built.json"

OCI = "application/vnd.oci.image"


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
    The key of the content that *tag* was last built from; empty if it was never built.
    """
    return str(_notes().get(tag, {}).get("key", ""))


def keep(tag: str, key: str) -> None:
    """
    Put an image that buildah has built into the cache, under the key of its content.

    The tag changes last, in one step, so a run that is killed before that changes nothing.
    """
    archive = ROOT / "image.tar"
    archive.unlink(missing_ok=True)
    buildah("push", "--quiet", tag, f"docker-archive:{archive}:{tag}")
    with tarfile.open(archive) as members:
        manifest = _manifest(members)
    archive.unlink()
    notes = _notes() | {tag: {"key": key, "manifest": manifest}}
    part = NOTES.with_suffix(".part")
    part.write_text(json.dumps(notes))
    part.rename(NOTES)
    _sweep(notes)


def load(tag: str, node: Node) -> bool:
    """
    Load an image into the node; false if the node has exactly this image already.
    """
    manifest = json.dumps(_notes()[tag]["manifest"]).encode()
    name = _digest(manifest)
    if f"{tag} {name}" in _loaded(node):
        return False
    there = set(node.ctr("content", "list", "--quiet").split())
    blobs = _blobs(_notes()[tag]["manifest"])
    try:
        _import(tag, manifest, [blob for blob in blobs if blob not in there], node)
    except RuntimeError:  # a layer belonged to a replaced image, and containerd has just removed it
        _import(tag, manifest, blobs, node)
    return True


def _manifest(members: tarfile.TarFile) -> dict[str, Any]:
    """
    Store the blobs of a docker archive that are new, and describe the image as OCI does.
    """
    index = members.extractfile("manifest.json")
    assert index
    image = json.load(index)[0]
    return {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": _store(members, image["Config"], f"{OCI}.config.v1+json"),
        "layers": [_store(members, layer, f"{OCI}.layer.v1.tar") for layer in image["Layers"]],
    }


def _store(members: tarfile.TarFile, name: str, kind: str) -> dict[str, Any]:
    digest = name.partition(".")[0]
    path = BLOBS / digest
    if not path.exists():
        BLOBS.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        source = members.extractfile(name)
        assert source
        with part.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        part.rename(path)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": path.stat().st_size}


def _import(tag: str, manifest: bytes, blobs: list[str], node: Node) -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as archive:
        sender = threading.Thread(target=_send, args=(os.fdopen(write, "wb"), tag, manifest, blobs))
        sender.start()
        node.ctr("images", "import", "--digests=false", "-", stdin=archive)
    sender.join()


def _send(pipe: IO[bytes], tag: str, manifest: bytes, blobs: list[str]) -> None:
    """
    Write an archive of one image, without the blobs that the receiver has.
    """
    entry = {"mediaType": f"{OCI}.manifest.v1+json", "digest": _digest(manifest), "size": len(manifest)}
    entry["annotations"] = {"io.containerd.image.name": tag}
    small = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(),
        f"blobs/sha256/{_digest(manifest).removeprefix('sha256:')}": manifest,
    }
    # A broken pipe means that containerd refused. The call to containerd raises its message.
    with contextlib.suppress(BrokenPipeError), pipe, tarfile.open(fileobj=pipe, mode="w|") as archive:
        for name, content in small.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
        for blob in blobs:
            name = blob.removeprefix("sha256:")
            archive.add(BLOBS / name, f"blobs/sha256/{name}")


def _loaded(node: Node) -> set[str]:
    rows = [line.split() for line in node.ctr("images", "list").splitlines()[1:]]
    return {f"{row[0]} {row[2]}" for row in rows}


def _sweep(notes: dict[str, Any]) -> None:
    """
    Remove blobs that no tag needs any more.
    """
    needed = {blob.removeprefix("sha256:") for note in notes.values() for blob in _blobs(note["manifest"])}
    for path in BLOBS.iterdir():
        if path.name not in needed:
            path.unlink()


def _blobs(manifest: dict[str, Any]) -> list[str]:
    return [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _notes() -> dict[str, Any]:
    return json.loads(NOTES.read_text()) if NOTES.exists() else {}
