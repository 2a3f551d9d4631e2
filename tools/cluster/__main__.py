"""
`python -m tools.cluster up | down | prepare | status | images | env | exec COMMAND`
"""

import argparse
import os
import sys

from tools.cluster import cluster
from tools.cluster.paths import STATE, CannotRun
from tools.cluster.progress import say

NEXT = f"""type next:
  eval "$({os.path.relpath(sys.executable)} -m tools.cluster env)"
  helm install queues charts/sharded-queue --wait   (or kubectl apply -f crds/ and, in a second terminal, make operator)
  kubectl apply -f examples/notifications/
  kubectl get shq --watch"""


def up() -> int:
    """start a Kubernetes on this machine with the project's images (minutes the first time, then seconds)"""
    if path := cluster.given():
        say(f"KUBECONFIG names {path}: that cluster is used, none is started")
        return 0
    say("up" if cluster.up() else "it is up already")
    cluster.connect().load_images()
    say(NEXT)
    return 0


def down() -> int:
    """stop it and remove everything it left; the cache of programs and images stays"""
    cluster.down()
    say("down")
    return 0


def prepare() -> int:
    """do everything that takes minutes the first time; on a machine that cannot run a cluster, say so and succeed"""
    try:
        cluster.prepare()
    except CannotRun as error:
        say(str(error))
    return 0


def status() -> int:
    """say whether it can be used, and if not, why"""
    problems = cluster.problems()
    say("; ".join(problems) or f"healthy; logs are in {STATE / 'logs'}")
    return 1 if problems else 0


def images() -> int:
    """build the project's images as they are now, and give them to the node"""
    print("\n".join(cluster.connect().load_images()))
    return 0


def env() -> int:
    """print what a shell needs: eval "$(python -m tools.cluster env)" """
    there = cluster.connect()
    if not there.kubeconfig.exists():
        say("it is not up")
        return 1
    print(f'export PATH={there.bin}:"$PATH"')
    print("export", *(f"{name}={there.env[name]}" for name in ("KUBECONFIG", "KUBECACHEDIR") if name in there.env))
    return 0


def exec_(command: list[str]) -> int:
    """run a command with the kubeconfig and programs of the cluster, and with the names of Services as in a pod"""
    there = cluster.connect()
    if not there.kubeconfig.exists():
        raise RuntimeError("the cluster is not up: type `make cluster` first")
    within = there.within(command)
    os.execvpe(within[0], within, there.env)


def main() -> int:
    commands = {command.__name__: command for command in (up, down, prepare, status, images, env)}
    described = {**commands, "exec": exec_}
    words = "\n".join(f"  {name:<8}{command.__doc__}" for name, command in described.items())
    parser = argparse.ArgumentParser(
        prog="python -m tools.cluster", epilog=words, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=(*commands, "exec"))
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="COMMAND", help="what exec runs")
    asked = parser.parse_args()
    try:
        return exec_(asked.rest) if asked.command == "exec" else commands[asked.command]()
    except (CannotRun, RuntimeError, TimeoutError) as error:
        say(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
