from django.db import models


class Order(models.Model):
    customer = models.CharField(max_length=100)
    article = models.CharField(max_length=100)


class Invoice(models.Model):
    """Numbered without gaps for each customer, in the order in which the requests for them were registered."""

    order = models.OneToOneField(Order, on_delete=models.PROTECT)
    customer = models.CharField(max_length=100)
    number = models.IntegerField()

    class Meta:
        unique_together = [("customer", "number")]  # noqa: RUF012 - as Django spells it
