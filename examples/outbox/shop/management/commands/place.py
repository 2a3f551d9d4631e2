from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from shop.models import Customer, place_order


class Command(BaseCommand):
    help = "Place an order for each customer."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("customers", nargs="+")

    def handle(self, *_: Any, customers: list[str], **__: Any) -> None:
        for customer in customers:
            Customer.objects.get_or_create(name=customer)
            self.stdout.write(f"placed {customer} {place_order(customer)}")
