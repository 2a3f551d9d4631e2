"""
The steps of the engine in memory, one a module: each does to a `MemoryShard` what the Lua script of the same name in
`backends/redis/lua/` does to a shard in Redis. The model test compares the two after every step.
"""
