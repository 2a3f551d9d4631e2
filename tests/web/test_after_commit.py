"""The view of docs/producers.md, as printed: it registers when its transaction commits, and only then."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.redis_server import RedisServer

pytestmark = pytest.mark.redis
PAGE = Path(__file__).parents[2] / "docs" / "producers.md"
HANDLERS = """
from sharded_queue import Handler

class OrderHandler(Handler):
    async def perform(self, *orders: int) -> None: ...
"""
MODELS = """
from django.db import models

class Order(models.Model):
    customer = models.TextField()
"""
PROGRAM = """
import json
import os

import django
from django.conf import settings
from django.db import transaction
from django.test import RequestFactory
from redis import Redis

settings.configure(
    INSTALLED_APPS=["orders"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()

from django.core.management import call_command
from orders.models import Order
from orders.views import place_order

host, port = os.environ["QUEUE_REDIS_ADDRESS"].split(":")
redis = Redis(host, int(port))

def waiting():
    return [message[13:].decode() for message in redis.lrange("tube_{orders.handlers.OrderHandler}/0/0", 0, -1)]

call_command("migrate", run_syncdb=True, verbosity=0)
said = []
request = RequestFactory().post("/orders", {"customer": "ann"})
place_order(request)
said.append(waiting())
with transaction.atomic():
    place_order(request)
    said.append(waiting())
    transaction.set_rollback(True)
said.append(waiting())
with transaction.atomic():
    place_order(request)
    said.append(waiting())
said.append(waiting())
said.append([str(order.pk) for order in Order.objects.all()])
print(json.dumps(said))
"""


@pytest.mark.usefixtures("ask")
def test_a_request_is_registered_when_its_transaction_commits(redis_server: RedisServer, tmp_path: Path) -> None:
    printed = dict(re.findall(r"^```py\n# orders/(\w+\.py)\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE))
    assert printed.keys() == {"queue.py", "views.py"}
    app = tmp_path / "orders"
    app.mkdir()
    for name, text in {**printed, "__init__.py": "", "handlers.py": HANDLERS, "models.py": MODELS}.items():
        (app / name).write_text(text)
    environment = os.environ | {"QUEUE_REDIS_ADDRESS": redis_server.address, "PYTHONPATH": str(tmp_path)}
    words = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=True)

    placed, undecided, rolled_back, uncommitted, committed, orders = json.loads(done.stdout)
    assert placed == undecided == rolled_back == uncommitted == ["1"]
    assert committed == orders
    assert len(committed) == 2


def test_the_relay_of_the_page_is_that_of_the_example() -> None:
    (printed,) = re.findall(r"^```py\n(def relay.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    models = (PAGE.parents[1] / "examples" / "outbox" / "shop" / "models.py").read_text()

    assert printed in re.sub(r'    """Register the oldest.*?"""\n', "", models)
