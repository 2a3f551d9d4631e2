import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from shop.models import relay

PAUSE_SECONDS = 0.5


class Command(BaseCommand):
    help = "Register what the outbox holds, again and again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="End when the outbox is empty.")

    def handle(self, *_: Any, once: bool, **__: Any) -> None:
        while True:
            count = relay()
            if count:
                self.stdout.write(f"registered {count}")
            elif once:
                return
            else:
                time.sleep(PAUSE_SECONDS)
