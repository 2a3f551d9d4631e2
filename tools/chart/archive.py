"""The chart as it is published: `python -m tools.chart.archive IMAGE` packs it into dist/ with the operator's image."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.chart.generated import CHART, REPOSITORY
from tools.cluster.binaries import provide

DIST = REPOSITORY / "dist"
NAMED = re.compile(r"(?P<repository>[^\s@]+)@(?P<digest>sha256:[0-9a-f]{64})")


def main() -> None:
    (image,) = sys.argv[1:]
    found = NAMED.fullmatch(image)
    if not found:
        sys.exit(f"IMAGE is {image!r}: give the operator's image by its digest, as in registry/name@sha256:…")
    helm = provide("helm") / "helm"
    DIST.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        chart = Path(shutil.copytree(CHART, Path(folder) / CHART.name))
        values = chart / "values.yaml"
        values.write_text(with_image(values.read_text(), found["repository"], found["digest"]))
        subprocess.run([helm, "package", chart, "--destination", DIST], check=True)
    link = DIST / "helm"
    link.unlink(missing_ok=True)
    link.symlink_to(helm)


def with_image(values: str, repository: str, digest: str) -> str:
    """*values* with another image of the operator, its comments kept."""
    lines = {"repository": repository, "tag": f'"@{digest}"'}
    for name, value in lines.items():
        values, count = re.subn(rf"^  {name}: .*$", f"  {name}: {value}", values, count=1, flags=re.MULTILINE)
        assert count == 1, f"values.yaml has no image.{name}"
    return values


if __name__ == "__main__":
    main()
