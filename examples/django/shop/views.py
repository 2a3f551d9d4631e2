from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_POST

from shop.handlers import Bill, BillHandler
from shop.models import Order
from shop.queue import queue


@require_POST
@transaction.atomic
def place_order(request: HttpRequest) -> JsonResponse:
    order = Order.objects.create(customer=request.POST["customer"], article=request.POST["article"])
    bill = Bill(order.customer, order.pk)
    transaction.on_commit(lambda: queue.register(BillHandler, bill))
    return JsonResponse({"order": order.pk}, status=201)
