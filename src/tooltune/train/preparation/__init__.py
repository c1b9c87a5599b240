"""Rows to rendered traces, once: bounded memory, several processes, a cache on disk.

`build.prepare_source` is the door. `codec` says how a rendered trace lies in the cache, `store`
what a cache entry is, `key` when it may be used again, `chunks` and `workers` do the work, `view`
is what training reads.
"""
