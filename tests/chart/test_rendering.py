"""What Helm makes of the chart, without a cluster: valid for three Kubernetes versions, and closed to bad values."""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sharded_queue_operator.settings import Settings
from tests.chart.helm import CHART, NAMESPACE, VALUES, Manifest, Refused, helm, of_kind, rendered, values

FILES = sorted(file.stem for file in VALUES.glob("*.yaml"))
KUBERNETES = ("1.29", "1.33", "1.37")
FOREIGN = ("monitoring.coreos.com/v1", "gateway.networking.k8s.io/v1")
"""Kinds of the Prometheus Operator and of the Gateway API, of which Kubernetes has no schema."""


def operator(*arguments: Any) -> Manifest:
    """The operator's pod."""
    (found,) = [
        each for each in of_kind(rendered(*arguments), "Deployment") if each["metadata"]["name"].endswith("-operator")
    ]
    template: Manifest = found["spec"]["template"]
    return template


def environment(pod: Manifest) -> dict[str, str]:
    (container,) = pod["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}


def test_there_are_seven_files_of_values() -> None:
    assert len(FILES) == 7


@pytest.mark.parametrize("name", FILES)
def test_lint_finds_nothing(name: str) -> None:
    said = helm("lint", "--strict", CHART, *values(name))

    assert "0 chart(s) failed" in said
    assert "[WARNING]" not in said


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("name", FILES)
def test_objects_are_valid_to_the_letter(name: str, kubernetes: str) -> None:
    """Strictly: a field that the version does not know is an error, too."""
    for each in rendered(*values(name), kubernetes=f"{kubernetes}.0"):
        if each["apiVersion"] not in FOREIGN:
            kubernetes_validate.validate(each, kubernetes, strict=True)


@pytest.mark.parametrize("name", FILES)
def test_no_object_appears_twice(name: str) -> None:
    named = [(it["kind"], it["metadata"].get("namespace"), it["metadata"]["name"]) for it in rendered(*values(name))]

    assert len(named) == len(set(named))


def test_all_is_rendered_by_some_file() -> None:
    """No template is dead, and none goes without validation."""
    kinds = {each["kind"] for name in FILES for each in rendered(*values(name))}
    expected = {"ClusterRole", "ClusterRoleBinding", "ConfigMap", "CustomResourceDefinition", "Deployment"}
    expected |= {
        "HTTPRoute",
        "Ingress",
        "Lease",
        "NetworkPolicy",
        "Pod",
        "PodDisruptionBudget",
        "PodMonitor",
        "PrometheusRule",
        "Role",
        "RoleBinding",
    }
    expected |= {"Service", "ServiceAccount", "ServiceMonitor"}

    assert kinds == expected


def test_ports_of_workers_are_open_to_the_monitoring_alone() -> None:
    """In each namespace whose queues are served, and there for every pod that the operator makes."""
    monitored = [*values("monitored"), "--set", "watchNamespaces={shop,mail}"]
    policies = {
        each["metadata"]["namespace"]: each["spec"]
        for each in of_kind(rendered(*monitored), "NetworkPolicy")
        if each["metadata"]["name"].endswith("-workers")
    }

    assert set(policies) == {"shop", "mail"}
    assert policies["shop"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "sharded-queue-worker"}
    ((rule,), peer) = policies["shop"]["ingress"], {"kubernetes.io/metadata.name": "monitoring"}
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": peer}}]
    assert rule["ports"] == [{"port": "metrics", "protocol": "TCP"}]


def test_port_of_the_console_is_open_to_its_proxy_alone() -> None:
    """
    The policy selects the console's pod and no other, and names a port that the pod has. Whether a packet is refused
    depends on the network plugin: that of the tests' cluster enforces no NetworkPolicy.
    """
    objects = rendered(*values("console"))
    (policy,) = [each for each in of_kind(objects, "NetworkPolicy") if each["metadata"]["name"].endswith("-console")]
    selected = policy["spec"]["podSelector"]["matchLabels"].items()
    pods = {each["metadata"]["name"]: each["spec"]["template"] for each in of_kind(objects, "Deployment")}
    chosen = [name for name, pod in pods.items() if selected <= pod["metadata"]["labels"].items()]
    (container,) = pods[policy["metadata"]["name"]]["spec"]["containers"]

    assert chosen == [policy["metadata"]["name"]]
    (rule,) = policy["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "oauth2-proxy"}}}]
    assert [port["name"] for port in container["ports"]] == [port["port"] for port in rule["ports"]] == ["http"]


@pytest.mark.parametrize("name", FILES)
def test_pods_are_restricted(name: str) -> None:
    """As the restricted Pod Security Standard wants it, and with a root file system that nobody writes to."""
    objects = rendered(*values(name))
    pods = [each["spec"]["template"]["spec"] for each in of_kind(objects, "Deployment")]
    for pod in [*pods, *[each["spec"] for each in of_kind(objects, "Pod")]]:
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsUser"] >= 999
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_fields_of_a_security_context_can_be_changed_and_taken_away() -> None:
    """OpenShift refuses a pod that asks for a user of its own choice."""
    away = ["--set=podSecurityContext.runAsUser=none", "--set=podSecurityContext.fsGroup=none"]
    changed = "--set=securityContext.readOnlyRootFilesystem=false"
    (deployment,) = of_kind(rendered(*away, changed), "Deployment")
    pod = deployment["spec"]["template"]["spec"]

    kept = {"runAsNonRoot": True, "runAsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["securityContext"] == kept
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is False
    assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_every_setting_is_one_that_the_operator_reads() -> None:
    """A misspelt one would be passed by Helm and refused by the pod."""
    names = {name for file in FILES for name in environment(operator(*values(file))) if name.startswith("OPERATOR_")}

    assert names == {f"OPERATOR_{field.upper()}" for field in Settings.model_fields}


def test_defaults_are_those_of_the_operator() -> None:
    told = environment(operator())
    for name, field in Settings.model_fields.items():
        if name.endswith("seconds") or name in {"workers", "log_level", "http_port"}:
            assert told[f"OPERATOR_{name.upper()}"] == f"{field.default:g}" if name != "log_level" else field.default


def test_bounds_are_those_of_the_operator() -> None:
    """So that Helm refuses what the pod would refuse, and nothing else."""
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())["properties"]["settings"]["properties"]
    schema = {re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name): each for name, each in schema.items()}
    told = {name: (each["minimum"], each["maximum"]) for name, each in schema.items() if "minimum" in each}
    fields = {name: {type(it).__name__: it for it in Settings.model_fields[name].metadata} for name in told}

    assert told == {name: (bounds["Ge"].ge, bounds["Le"].le) for name, bounds in fields.items()}


def test_zero_means_zero_and_null_leaves_it_to_the_operator() -> None:
    told = environment(operator(*values("trial")))
    specs = {each["metadata"]["name"]: each["spec"] for each in of_kind(rendered(*values("trial")), "Deployment")}

    assert told["OPERATOR_STATUS_SECONDS"] == "0"
    assert "OPERATOR_WORKERS" not in told
    assert specs["trial-operator"]["replicas"] == 0
    assert specs["trial-redis"]["template"]["spec"]["containers"][0]["args"][-2:] == ["--maxmemory", "0"]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("replica=2", "additional properties 'replica' not allowed"),
        ("image.name=x", "additional properties 'name' not allowed"),
        ("settings.loglevel=INFO", "additional properties 'loglevel' not allowed"),
        ("monitoring.rules.thresholds.lag=1", "additional properties 'thresholds' not allowed"),
        ("replicas=-1", "at '/replicas': minimum: got -1, want 0"),
        ("replicas=two", "at '/replicas': got string, want integer"),
        ("settings.leaseSeconds=1", "at '/settings/leaseSeconds': minimum: got 1, want 3"),
        ("settings.logLevel=LOUD", "at '/settings/logLevel': value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'"),
        ("image.tag=", "at '/image/tag': '' does not match pattern"),
        ("image.pullPolicy=Sometimes", "at '/image/pullPolicy': value must be one of"),
        ("watchNamespaces={Shop}", "at '/watchNamespaces/0': 'Shop' does not match pattern"),
        ("watchNamespaces=shop", "at '/watchNamespaces': got string, want array"),
        ("service.port=80", "at '/service/port': minimum: got 80, want 1,024"),
        ("crds.install=perhaps", "at '/crds/install': got string, want boolean"),
        ("redis.maxmemory=much", "at '/redis/maxmemory': 'much' does not match pattern"),
        ("monitoring.podMonitor.interval=often", "at '/monitoring/podMonitor/interval': 'often' does not match"),
        ("monitoring.rules.disabled={Lags}", "at '/monitoring/rules/disabled/0': value must be one of"),
        ("resources.limits.memory=lots", "at '/resources/limits/memory': 'lots' does not match pattern"),
    ],
)
def test_bad_values_are_refused_with_a_sentence(setting: str, sentence: str) -> None:
    with pytest.raises(Refused) as refused:
        rendered("--set", setting)

    assert sentence in str(refused.value)


def test_the_schema_knows_every_value_and_is_closed_everywhere() -> None:
    """But where Kubernetes says what may stand there, or the keys are the user's own."""
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())

    assert set(schema["properties"]) == {*defaults, "global"}
    assert not list(open_objects(schema))


def open_objects(schema: Any, path: str = "") -> Any:
    if isinstance(schema, dict):
        if (
            "properties" in schema
            and schema.get("type") == "object"
            and schema.get("additionalProperties") is not False
        ):
            yield path
        for key, value in schema.items():
            yield from open_objects(value, f"{path}/{key}")


def test_an_older_kubernetes_is_refused() -> None:
    with pytest.raises(Refused, match="incompatible with Kubernetes"):
        rendered(kubernetes="1.28.0")


def test_notes_name_the_first_namespace_that_is_served() -> None:
    notes = helm("install", "test", CHART, "--namespace", NAMESPACE, "--dry-run=client", *values("namespaced"))

    assert "serves the ShardedQueues of shop, billing" in notes
    assert "kubectl apply --namespace shop" in notes
    assert "connects to these Redis servers only" in notes
    assert "\n  *.svc:*\n" in notes


def test_an_operator_whose_new_image_cannot_be_pulled_goes_on() -> None:
    """The old pod ends when the new one runs, and one that waits for the Lease does run."""
    (deployment,) = [
        each for each in of_kind(rendered(*values("guarded")), "Deployment") if "operator" in each["metadata"]["name"]
    ]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]

    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert container["readinessProbe"]["httpGet"]["path"] == "/livez"


CONSOLE = "test-sharded-queue-console"


def console(*arguments: Any) -> Manifest:
    """The console's container."""
    (found,) = [
        each for each in of_kind(rendered(*arguments), "Deployment") if each["metadata"]["name"].endswith("-console")
    ]
    (container,) = found["spec"]["template"]["spec"]["containers"]
    return dict(container)


def test_console_is_off_by_default() -> None:
    assert not [each for each in rendered() if each["metadata"]["name"].endswith("-console")]


def test_console_gets_its_users_and_its_redis() -> None:
    container = console(*values("console"))

    assert {"--users=/etc/sharded-queue/users/users", "--trusted-proxy-header=X-Forwarded-User"} <= set(
        container["args"]
    )
    assert "--host-name=queues.example.com" in container["args"]
    assert {each["name"]: each["value"] for each in container["env"]} == {
        "QUEUE_REDIS_ADDRESS": "redis:6379",
        "QUEUE_REDIS_AUTH_FOLDER": "/etc/sharded-queue/redis",
        "QUEUE_REDIS_TIMEOUT": "2",
    }


def test_console_asks_the_redis_of_the_chart_where_it_is_told_of_no_other() -> None:
    container = console("--set", "console.enabled=true,console.anybodyMayLook=true,redis.enabled=true")

    assert container["env"] == [{"name": "QUEUE_REDIS_ADDRESS", "value": "test-sharded-queue-redis:6379"}]


def test_console_where_everybody_could_act_is_refused() -> None:
    with pytest.raises(Refused, match=r"set console\.usersSecret or console\.proxyHeader"):
        rendered("--set", "console.enabled=true,console.allowActions=true")


USERS, HEADER, ACTIONS = "usersSecret=people", "proxyHeader=X-User", "allowActions=true"
POLICY, INGRESS, TLS = "from[0].podSelector.matchLabels.app=proxy", "ingress.enabled=true", "ingress.tlsSecretName=tls"
CLEAR = "without TLS shows requests and secrets to everybody on the way"
ANY_POD, ANY_NAME = "shows everything to every pod of the cluster", "show everything to everybody who knows the name"
ANY_HEADER = "lets every pod be anybody by a header"
COMBINATIONS: list[tuple[tuple[str, ...], str]] = [
    ((), ANY_POD),
    ((POLICY,), ""),
    ((USERS,), ""),
    ((HEADER,), ANY_HEADER),
    ((HEADER, POLICY), ""),
    ((USERS, ACTIONS), ""),
    ((POLICY, ACTIONS), "needs to know who acts"),
    ((HEADER, ACTIONS), ANY_HEADER),
    ((USERS, HEADER, POLICY, ACTIONS), ""),
    ((POLICY, INGRESS, TLS), ANY_NAME),
    ((USERS, INGRESS), CLEAR),
    ((USERS, INGRESS, TLS), ""),
]
"""Values of the console, a policy among them, and why the chart refuses them; empty where it does not."""


def render_console(*chosen: str) -> list[Manifest]:
    policy = ["networkPolicy.enabled=true"] if POLICY in chosen else []
    ours = ["enabled=true", "host=queues.example", *chosen]
    return rendered("--set", ",".join([*policy, *(f"console.{value}" for value in ours)]))


@pytest.mark.parametrize(("chosen", "refusal"), COMBINATIONS, ids=lambda it: "+".join(it) if it and it[0] else None)
def test_console_is_open_to_nobody_whom_the_values_do_not_name(chosen: tuple[str, ...], refusal: str) -> None:
    """And `anybodyMayLook` opens what only shows."""
    if refusal:
        with pytest.raises(Refused, match=refusal):
            render_console(*chosen)
    else:
        assert of_kind(render_console(*chosen), "Deployment")
    if ACTIONS not in chosen:
        assert of_kind(render_console(*chosen, "anybodyMayLook=true"), "Deployment")
    elif refusal:
        with pytest.raises(Refused, match=refusal):
            render_console(*chosen, "anybodyMayLook=true")


def test_docs_have_a_line_for_each_combination() -> None:
    page = (CHART.parents[1] / "docs" / "console.md").read_text().replace("`", "")
    lines = page.split("| the chart |\n")[1].split("\n\n")[0].splitlines()[1:]

    assert len(lines) == len(COMBINATIONS)
    for line, (chosen, refusal) in zip(lines, COMBINATIONS, strict=True):
        *marks, said = line.strip("| ").split(" | ")
        assert [mark != "–" for mark in marks] == [part in chosen for part in (USERS, HEADER, POLICY, INGRESS, ACTIONS)]
        assert refusal in said if refusal else said.startswith("renders")


def test_console_believes_the_proxies_that_are_named() -> None:
    named = [*values("console"), "--set", "console.trustedProxies={10.0.0.7}"]
    believed = [each for each in console(*named)["args"] if each.startswith("--trusted-proxy=")]
    by_policy = [each for each in console(*values("console"))["args"] if each.startswith("--trusted-proxy=")]

    assert believed == ["--trusted-proxy=10.0.0.7"]
    assert by_policy == ["--trusted-proxy=0.0.0.0/0", "--trusted-proxy=::/0"]


@pytest.mark.parametrize("way", ["ingress", "httpRoute"])
def test_console_is_reached_by_a_name(way: str) -> None:
    with pytest.raises(Refused, match=rf"console\.{way} needs console\.host"):
        rendered("--set", f"console.enabled=true,console.anybodyMayLook=true,console.{way}.enabled=true")


def test_console_may_list_the_shardedqueues_that_the_operator_serves() -> None:
    """And nothing else, in the namespaces of the operator and nowhere else."""
    everywhere = rendered("--set=console.enabled=true,console.anybodyMayLook=true")
    named = rendered("--set=console.enabled=true,console.anybodyMayLook=true,watchNamespaces={shop,billing}")
    rule = {"apiGroups": ["shardedqueue.dev"], "resources": ["shardedqueues"], "verbs": ["list"]}

    def granted(objects: list[Manifest], kind: str) -> list[tuple[str | None, Any]]:
        of_console = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == f"queues-{CONSOLE}"]
        return [(each["metadata"].get("namespace"), each.get("rules") or each["subjects"]) for each in of_console]

    subjects = [{"kind": "ServiceAccount", "name": CONSOLE, "namespace": NAMESPACE}]
    assert granted(everywhere, "ClusterRole") == [(None, [rule])]
    assert granted(everywhere, "ClusterRoleBinding") == [(None, subjects)]
    assert granted(named, "Role") == [("shop", [rule]), ("billing", [rule])]
    assert granted(named, "RoleBinding") == [("shop", subjects), ("billing", subjects)]
    assert not of_kind(named, "ClusterRole", "ClusterRoleBinding")
    assert page_of() == ["--page=shardedqueues"]
    assert page_of("watchNamespaces={shop,billing}") == ["--page=shardedqueues=shop,billing"]


def page_of(*chosen: str) -> list[str]:
    """The console's arguments that ask for pages of other packages."""
    arguments = console("--set", ",".join(["console.enabled=true,console.anybodyMayLook=true", *chosen]))["args"]
    return [each for each in arguments if each.startswith("--page")]


def test_console_runs_from_the_image_that_has_the_operators_page() -> None:
    """Wherever the operator's comes from; and from another one where it is named."""
    shown = "console.enabled=true,console.anybodyMayLook=true"
    digest = f"@sha256:{'0a' * 32}"
    own = console("--set", f"{shown},image.repository=registry.example/operator,image.tag={digest}")
    other = console("--set", f"{shown},console.image.repository=registry.example/shop,console.image.tag=v1")

    assert own["image"] == f"registry.example/operator{digest}"
    assert other["image"] == "registry.example/shop:v1"


def test_console_that_shows_no_shardedqueues_has_no_token() -> None:
    objects = rendered("--set=console.enabled=true,console.anybodyMayLook=true,console.shardedQueues=false")
    (deployment,) = [each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == CONSOLE]
    pod = deployment["spec"]["template"]["spec"]

    assert pod["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod
    assert not [each for each in pod["containers"][0]["args"] if each.startswith("--page")]
    kinds = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    assert not [each for each in of_kind(objects, *kinds) if each["metadata"]["name"].endswith("-console")]
