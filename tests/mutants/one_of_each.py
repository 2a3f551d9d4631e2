"""A plugin of the inner pytest: run one case of each test, which the seed of the order chooses."""

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = {item.nodeid.partition("[")[0]: item for item in items}.values()
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen
