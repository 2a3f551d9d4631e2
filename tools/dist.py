"""Tell of each archive in a folder what it lacks and what it has too much, beside the files of the packages."""

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("worker/sharded_queue", "worker/sharded_queue_pytest", "operator/sharded_queue_operator")
BESIDE = {".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
"""What the source archive has beside the packages."""
ABOUT = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
"""What the wheel says of itself."""


def main() -> None:
    (folder,) = map(Path, sys.argv[1:])
    archives = sorted(path for path in folder.iterdir() if path.suffix in {".whl", ".gz"})
    if [path.suffix for path in archives] != [".whl", ".gz"]:
        sys.exit(f"{folder} must hold one wheel and one source archive: {[path.name for path in archives]}")
    faults = [f"{path.name} {fault}" for path in archives for fault in faults_of(path, expected(path, tracked()))]
    sys.exit("\n".join(faults) or None)


def tracked() -> set[str]:
    """The files of the packages that git knows: nothing that lies about by chance belongs in a release."""
    command = ["git", "-C", str(ROOT), "ls-files", *PACKAGES]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())


def expected(archive: Path, files: set[str]) -> set[str]:
    if archive.suffix == ".gz":
        return files | BESIDE
    about = "-".join(archive.stem.split("-")[:2]) + ".dist-info"
    return {file.partition("/")[2] for file in files} | {f"{about}/{name}" for name in ABOUT}


def faults_of(archive: Path, wanted: set[str]) -> Iterator[str]:
    found = names(archive)
    yield from (f"lacks {name}" for name in sorted(wanted - found))
    yield from (f"holds {name}, which is no part of it" for name in sorted(found - wanted))


def names(archive: Path) -> set[str]:
    if archive.suffix == ".whl":
        return set(zipfile.ZipFile(archive).namelist())
    with tarfile.open(archive) as tar:
        return {member.name.partition("/")[2] for member in tar.getmembers() if member.isfile()}


if __name__ == "__main__":
    main()
