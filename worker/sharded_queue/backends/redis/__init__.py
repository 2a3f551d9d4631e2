"""
Tubes and leases in Redis.

Each step of the engine is one Lua script in `lua/`, which Redis carries out as a whole. Python makes the calls,
understands the answers, and decides what may be sent again.
"""
