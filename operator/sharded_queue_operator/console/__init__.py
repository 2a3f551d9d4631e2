"""
The operator's page of the console: the ShardedQueues as the API server has them.

What belongs here turns a resource into what a person reads of it. The page joins the console by the entry-point group
`sharded_queue.pages`; it only lists, and shares nothing with a running operator but the code.
"""
