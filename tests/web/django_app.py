"""The same in Django, in one file."""

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path

from sharded_queue import SyncQueue
from tests.web.orders import Order

queue = SyncQueue()
queue.register(Order, ("boot", 0))


def order(request: HttpRequest, customer: str, number: int) -> HttpResponse:
    (receipt,) = queue.register(Order, (customer, number))
    return HttpResponse(str(receipt.sequence))


urlpatterns = [path("orders/<str:customer>/<int:number>", order)]

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="of a test")
django.setup()
application = WSGIHandler()
