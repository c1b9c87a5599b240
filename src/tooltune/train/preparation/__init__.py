"""Rows to rendered traces, once: bounded memory, several processes, a cache on disk.

`build.prepare_source` is the door. `key` says when an entry of the cache may be used again,
`store` what it is, `staging` how it appears whole; `codec` and `columns` say how a rendered trace
lies in it. `chunks` and `workers` do the work, `stages` what needs all rows (sessions,
duplicates), and `view` is what training reads.
"""
