from sharded_queue import SyncQueue

queue = SyncQueue()  # one for each process, made when it is imported; it connects when it first registers
