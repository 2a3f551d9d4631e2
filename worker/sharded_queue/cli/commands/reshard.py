"""`sharded-queue reshard`: spread the keys of a handler over more or fewer threads."""

from sharded_queue.admin.reshard import Reshard
from sharded_queue.cli.acts import act_command

reshard = act_command(Reshard)
