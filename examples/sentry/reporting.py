"""Failed tries as events of Sentry, with tags to search by."""

import sentry_sdk
from sentry_sdk.integrations.logging import ignore_logger

from sharded_queue import LeaseLost, Middleware, current

LONGEST_TAG = 200


def start(**options) -> None:
    """Sentry reads SENTRY_DSN, SENTRY_ENVIRONMENT and SENTRY_RELEASE; *options* are those of `sentry_sdk.init`."""
    sentry_sdk.init(**options)
    ignore_logger("sharded_queue")  # it logs each failed try as well, which would be a second event


class ReportFailedTries(Middleware):
    """
    One event for each failed try of a request.

    The requests of a batch that fails are handled again one by one. Only a call of one request counts as a try, so only
    such a call is reported. A lost lease is no failure: another worker handles the requests.
    """

    async def handle(self, handler, requests, call_next):
        context = current()
        with sentry_sdk.isolation_scope() as scope:  # for what the handler itself reports as well
            scope.set_transaction_name(handler.name)
            scope.set_tags(
                {
                    "handler": handler.name,
                    "thread": str(context.tube.thread)[:LONGEST_TAG],
                    "priority": context.tube.priority,
                    "attempt": context.attempt,
                    "fence": context.lease.fence,
                }
            )
            try:
                await call_next()
            except LeaseLost:  # a handler raises it when its own database refused the fence
                raise
            except Exception as error:
                if len(requests) == 1:
                    sentry_sdk.capture_exception(error)
                raise
