"""A shop whose orders have numbers, and the outbox: rows that are written with an order, and registered later."""

import outbox
from django.db import models, transaction
from django.db.models import F
from orders import Order, OrderHandler


class Customer(models.Model):
    name = models.CharField(max_length=100, unique=True)
    orders = models.IntegerField(default=0)


class OutboxRow(models.Model):
    identity = models.CharField(max_length=32)
    handler = models.CharField(max_length=200)
    body = models.TextField()


@transaction.atomic
def place_order(customer: str) -> int:
    Customer.objects.filter(name=customer).update(orders=F("orders") + 1)  # locks the customer until the commit
    number = Customer.objects.get(name=customer).orders
    OutboxRow.objects.create(**outbox.columns(OrderHandler, Order(customer, number)))
    return number


def relay(count: int = 100) -> int:
    """Register the oldest rows, then delete them; returns how many there were. Not to be called in a transaction."""
    rows = list(OutboxRow.objects.order_by("id")[:count])
    outbox.register(rows)
    OutboxRow.objects.filter(id__in=[row.id for row in rows]).delete()
    return len(rows)
