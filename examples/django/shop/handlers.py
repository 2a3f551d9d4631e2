import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from django.db import close_old_connections, transaction

from sharded_queue import Handler, Route
from shop.models import Invoice

log = logging.getLogger("shop")


class Bill(NamedTuple):
    customer: str
    order: int  # the key of a row, not the row: the worker reads what is true when it works


class BillHandler(Handler[Bill]):
    @classmethod
    async def route(cls, *bills: Bill) -> list[Route]:
        return [Route(bill.customer) for bill in bills]

    def perform(self, *bills: Bill) -> None:  # a plain `def` runs in an OS thread, where the ORM may be used
        with connection():
            for bill in bills:
                number = write_invoice(bill)  # committed when it returns: nothing is said of it before
                log.info("invoice %d of %s", number, bill.customer)


@transaction.atomic
def write_invoice(bill: Bill) -> int:
    """Return the number of the order's invoice, which is there already if a crash came after the commit."""
    if written := Invoice.objects.filter(order=bill.order).first():
        return written.number
    number = Invoice.objects.filter(customer=bill.customer).count() + 1
    Invoice.objects.create(order_id=bill.order, customer=bill.customer, number=number)
    return number


@contextmanager
def connection() -> Iterator[None]:
    """What Django does before and after a web request: close connections that broke, or are older than CONN_MAX_AGE."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()
