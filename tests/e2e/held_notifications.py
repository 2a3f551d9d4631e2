"""
The example's handler as worker pods of tests run it, mounted into them: a request with a negative number is at work
until the test opens the gate of its thread.
"""

from collections.abc import Sequence

import notifications
from gate import passed

send_all = notifications.send_all


async def held(requests: Sequence[notifications.NotifyRequest]) -> None:
    await send_all(requests)
    for request in requests:
        if request.number < 0:
            await passed(f"notifications:{request.user_id % notifications.THREADS}")


notifications.send_all = held
