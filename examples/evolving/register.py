"""The producer: `PYTHONPATH=old python register.py ann 500 700`, or `PYTHONPATH=new …`."""

import sys

from charges import ChargeHandler, charge

from sharded_queue import SyncQueue

_, account, *amounts = sys.argv
SyncQueue().register(ChargeHandler, *[charge(account, int(cents)) for cents in amounts])
