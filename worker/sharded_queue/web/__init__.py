"""
`sharded-queue web`: a page in a browser that shows every thread, and acts where its operator allows that.

What belongs here shows what a storage reports, or calls a storage on behalf of a person. All pages share one reader of
Redis, so their number costs Redis nothing. Nothing imports this package but the command line.
"""
