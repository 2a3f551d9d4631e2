"""
The programs of a cluster, built once from source modules and kept in the cache; and small ones of ours beside them.

Their versions are in `go/*/go.mod` and nowhere else. A suitable program that the machine already has (in
KUBEBUILDER_ASSETS or PATH) is used instead of building one.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tools.cluster.paths import CACHE, HERE, CannotRun, alone, digest
from tools.cluster.progress import say, step

MODULES = HERE / "go"


class Program(NamedTuple):
    name: str
    module: str
    """Folder of its go.mod."""
    package: str
    versions: tuple[str, str]
    """Arguments that ask an existing program for its version, and what its answer must contain."""


KUBERNETES = "1.35"
"""The last version for containerd 1.x. Programs of another minor version are not used: kubelets are particular."""

PROGRAMS = (
    Program("etcd", "kubernetes", "go.etcd.io/etcd/server/v3", ("--version", "etcd Version: 3.6.")),
    *(
        Program(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", ("--version", f"Kubernetes v{KUBERNETES}."))
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
    ),
    Program("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl", ("version --client", f"v{KUBERNETES}.")),
    Program("helm", "helm", "helm.sh/helm/v4/cmd/helm", ("version --short", "v4.")),
    Program("coredns", "coredns", "github.com/coredns/coredns", ("-version", "CoreDNS-1.")),
)


API = ("helm", "kubectl", "etcd", "kube-apiserver", "kube-controller-manager")
"""What tests need also where no node can run."""


def folder() -> Path:
    """
    The folder of the programs, also before they are built. It changes with every version in go.mod.
    """
    return CACHE / digest([*MODULES.glob("*/go.mod"), *MODULES.glob("*/go.sum")]) / "bin"


def provide(*names: str) -> Path:
    """
    Find or build the programs (all, or those named) and return the folder that has them.
    """
    wanted = [program for program in PROGRAMS if not names or program.name in names]
    target = folder()
    target.mkdir(parents=True, exist_ok=True)
    with alone(target.parent / "lock"):
        absent = [program for program in wanted if not (target / program.name).exists()]
        to_build = [program for program in absent if not _link(program, target)]
        if to_build:
            listed = ", ".join(program.name for program in to_build)
            say(f"to build from source, once, at most eight minutes on two cores: {listed}")
        for number, program in enumerate(to_build, start=1):
            place = f"{program.name}, {number} of {len(to_build)}"
            _build(target / program.name, MODULES / program.module, program.package, place)
    return target


def provide_ours(name: str, module: Path) -> Path:
    """
    Find or build the program that *module* is the source of. It changes with every file of the module.
    """
    program = CACHE / digest([module]) / "bin" / name
    program.parent.mkdir(parents=True, exist_ok=True)
    with alone(program.parent.parent / "lock"):
        if not program.exists():
            _build(program, module, ".", name)
    return program


def _link(program: Program, target: Path) -> bool:
    """
    Use a suitable program that the machine already has.
    """
    found = shutil.which(program.name, path=os.environ.get("KUBEBUILDER_ASSETS", "")) or shutil.which(program.name)
    question, answer = program.versions
    if not found or answer not in _output(found, *question.split()):
        return False
    link = target / program.name
    link.unlink(missing_ok=True)  # it may point at a program that is gone
    link.symlink_to(found)
    say(f"{program.name}: {found}")
    return True


def _build(program: Path, module: Path, package: str, what: str) -> None:
    """
    Build one program. Its name appears only when the file is complete, so an interrupted build is never used.
    """
    if not shutil.which("go"):
        raise CannotRun(f"{program.name} is not here and cannot be built: install Go 1.26 or newer")
    part = program.with_name(f".{program.name}.part")
    command = ["go", "build", "-trimpath", "-buildvcs=false", "-ldflags", _flags(), "-o", str(part), package]
    with step(f"building {what}"):
        done = subprocess.run(
            command, cwd=module, env=os.environ | {"CGO_ENABLED": "0"}, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise CannotRun(f"{program.name} could not be built: {done.stderr.strip()[-2000:]}")
    part.rename(program)


def _flags() -> str:
    """
    Kubernetes reads its own version from these variables; without them it calls itself v0.0.0 and refuses its parts.
    """
    version = re.search(r"k8s\.io/kubernetes v(\S+)", (MODULES / "kubernetes" / "go.mod").read_text())
    assert version
    major, minor, _ = version[1].split(".", 2)
    values = {"gitVersion": f"v{version[1]}", "gitMajor": major, "gitMinor": minor}
    return "-s -w " + " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in values.items())


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
