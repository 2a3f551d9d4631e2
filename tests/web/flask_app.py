"""A Flask application that registers a request per POST, and one when it is imported."""

from flask import Flask

from sharded_queue import SyncQueue
from tests.web.orders import Order

queue = SyncQueue()
queue.register(Order, ("boot", 0))
application = Flask(__name__)


@application.post("/orders/<customer>/<int:number>")
def order(customer: str, number: int) -> str:
    (receipt,) = queue.register(Order, (customer, number))
    return str(receipt.sequence)
