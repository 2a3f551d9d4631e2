"""Settings: from the environment and by assignment, checked on both ways, with errors that say what to do."""

import pytest

from sharded_queue import SettingsError, settings
from sharded_queue.settings import FIELDS, mistyped, read

DEFAULTS = {
    "QUEUE_COORDINATOR_DELAY": 1,
    "QUEUE_COORDINATOR_PREFIX": "lock_",
    "QUEUE_COORDINATOR_TIMEOUT": 86400,
    "QUEUE_DEFAULT_PRIORITY": 0,
    "QUEUE_DEFAULT_THREAD": 0,
    "QUEUE_TUBE_PREFIX": "tube_",
    "QUEUE_WORKER_BATCH_SIZE": 128,
    "QUEUE_WORKER_EMPTY_LIMIT": 16,
    "QUEUE_WORKER_EMPTY_PAUSE": 0.1,
}
OTHERS = {
    "QUEUE_COORDINATOR_DELAY": ("0.5", 0.5),
    "QUEUE_COORDINATOR_PREFIX": ("bind:", "bind:"),
    "QUEUE_COORDINATOR_TIMEOUT": ("60", 60.0),
    "QUEUE_DEFAULT_PRIORITY": ("-3", -3),
    "QUEUE_DEFAULT_THREAD": ("main", "main"),
    "QUEUE_TUBE_PREFIX": ("my_", "my_"),
    "QUEUE_WORKER_BATCH_SIZE": ("64", 64),
    "QUEUE_WORKER_EMPTY_LIMIT": ("0", 0),
    "QUEUE_WORKER_EMPTY_PAUSE": ("0", 0.0),
    "QUEUE_REDIS_ADDRESS": ("a:1, b:2", ("a:1", "b:2")),
}
WRONG = [
    ("coordinator_delay", 0, "greater than 0"),
    ("coordinator_delay", "soon", "valid number"),
    ("coordinator_delay", "nan", "greater than 0"),
    ("worker_drain", "nan", "greater than or equal to 0"),
    ("worker_drain", True, "valid number"),
    ("worker_batch_size", "6.5", "valid whole number"),
    ("coordinator_prefix", "a{b}", "pattern"),
    ("coordinator_lease", 0.1, "greater than or equal to 0.2"),
    ("coordinator_timeout", -1, "greater than 0"),
    ("default_priority", 2**31, "less than 2147483648"),
    ("redis_address", "", "host:port"),
    ("redis_mode", "Clustre", "'Standalone', 'Sentinel' or 'Cluster'"),
    ("redis_timeout", 0, "greater than or equal to 0.05"),
    ("retry_limit", 0, "greater than or equal to 1"),
    ("tube_prefix", "{tube}", "pattern"),
    ("worker_batch_size", 0, "greater than or equal to 1"),
    ("worker_batch_size", 10_001, "less than or equal to 10000"),
    ("worker_concurrency", 0, "greater than or equal to 1"),
    ("worker_empty_limit", -1, "greater than or equal to 0"),
    ("worker_name", "my worker", "pattern"),
    ("worker_name", "worker\n", "pattern"),
]


@pytest.mark.parametrize(("variable", "value"), DEFAULTS.items())
def test_defaults_are_those_that_were_promised(variable: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(variable, raising=False)

    assert getattr(read(), variable.removeprefix("QUEUE_").lower()) == value


@pytest.mark.parametrize(("variable", "text", "value"), [(name, *pair) for name, pair in OTHERS.items()])
def test_the_environment_sets(variable: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, text)

    assert getattr(read(), variable.removeprefix("QUEUE_").lower()) == value


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("worker_drain", " 3 ", 3.0),
        ("worker_batch_size", "064", 64),
        ("default_thread", "007", "007"),
        ("default_thread", "1e3", "1e3"),
        ("redis_mode", "cluster", "Cluster"),
        ("redis_username", "null", "null"),
    ],
)
def test_a_text_is_read_as_what_the_setting_is(name: str, text: str, value: object) -> None:
    setattr(settings, name, text)

    assert getattr(settings, name) == value


def test_a_setting_can_be_assigned() -> None:
    settings.worker_batch_size = 64

    assert settings.worker_batch_size == 64


@pytest.mark.parametrize(("name", "value", "bound"), [wrong for wrong in WRONG if wrong[0] != "redis_address"])
def test_a_wrong_assignment_names_setting_value_and_bound(name: str, value: object, bound: str) -> None:
    with pytest.raises(SettingsError) as caught:
        setattr(settings, name, value)

    assert f"QUEUE_{name.upper()} (settings.{name}) = {value!r}" in str(caught.value)
    assert bound in str(caught.value)


@pytest.mark.parametrize(("name", "value", "bound"), [wrong for wrong in WRONG if wrong[0] != "redis_address"])
def test_a_wrong_variable_names_itself_its_value_and_the_bound(
    name: str, value: object, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"QUEUE_{name.upper()}", str(value))

    with pytest.raises(SettingsError) as caught:
        read()

    assert f"QUEUE_{name.upper()}" in str(caught.value)
    assert repr(str(value)) in str(caught.value)
    assert bound in str(caught.value)


def test_a_wrong_assignment_changes_nothing() -> None:
    before = settings.worker_batch_size
    with pytest.raises(SettingsError):
        settings.worker_batch_size = 0

    assert settings.worker_batch_size == before


def test_an_unknown_assignment_says_what_was_meant() -> None:
    with pytest.raises(SettingsError, match=r"no setting worker_batchsize; did you mean .*settings\.worker_batch_size"):
        settings.worker_batchsize = 1


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("QUEUE_WORKER_BATCHSIZE", "did you mean QUEUE_WORKER_BATCH_SIZE"),
        ("QUEUE_WORKER_BATCH", "did you mean QUEUE_WORKER_BATCH_SIZE"),
        ("QUEUE_REDIS_ADRESS", "did you mean QUEUE_REDIS_ADDRESS"),
        ("QUEUE_REDIS_HOSTS", "there is no setting QUEUE_REDIS_HOSTS, so it has no effect"),
        ("QUEUE_LOGLEVEL", "did you mean QUEUE_LOG_LEVEL"),
        ("QUEUE_WORKER_PORT", "there is no setting QUEUE_WORKER_PORT, so it has no effect"),
        ("QUEUE_METRIC_PORT", "did you mean QUEUE_METRICS_PORT"),
    ],
)
def test_a_variable_that_is_nearly_ours_is_told_and_harms_nobody(
    variable: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")

    read()
    (sentence,) = mistyped()
    assert meant in sentence


FOREIGN = {
    "QUEUE_NAME": "orders",
    "QUEUE_URL": "amqp://elsewhere",
    "QUEUE_PORT": "tcp://10.0.0.1:6379",
    "QUEUE_PORT_6379_TCP": "tcp://10.0.0.1:6379",
    "QUEUE_PORT_6379_TCP_ADDR": "10.0.0.1",
    "QUEUE_SERVICE_HOST": "10.0.0.1",
    "QUEUE_SERVICE_PORT": "6379",
    "QUEUE_SERVICE_PORT_REDIS": "6379",
    "QUEUE_REDIS_SERVICE_HOST": "10.0.0.1",
    "QUEUE_REDIS_PORT_6379_TCP_PROTO": "tcp",
    "QUEUE_REDIS_PORT": "tcp://10.0.0.1:6379",
}


@pytest.mark.parametrize(("variable", "value"), FOREIGN.items())
def test_a_variable_of_somebody_else_is_left_alone(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)

    read()
    assert list(mistyped()) == []


def test_the_port_of_a_service_called_queue_metrics_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_METRICS_PORT", "tcp://10.0.0.1:9090")

    found = read()

    assert found.metrics_port == 9090
    assert "metrics_port" not in found.given


def test_level_and_format_of_the_log_may_be_spelled_as_people_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_LOG_LEVEL", "debug")
    monkeypatch.setenv("QUEUE_LOG_FORMAT", "JSON")

    assert (read().log_level, read().log_format) == ("DEBUG", "json")


@pytest.mark.parametrize("name", [name for name in FIELDS if "password" in name or "url" in name])
def test_a_password_is_never_shown(name: str) -> None:
    setattr(settings, name, "hunter2-is-secret")

    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(vars(settings))
    assert "hunter2" not in str(getattr(settings, name))


@pytest.mark.parametrize("name", ["redis_password", "redis_url"])
def test_a_wrong_password_is_not_shown_in_its_error(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        setattr(settings, name, ["hunter2"])

    assert "hunter2" not in str(caught.value)


def test_the_linger_is_the_product_of_its_two_settings() -> None:
    settings.worker_empty_limit, settings.worker_empty_pause = 5, 0.5

    assert settings.linger_seconds == 2.5
