"""The scheduler: the only process between PostgreSQL and the broker on the master.

Its duties (`dispatch`, `collect`, `reap`) run in loops of their own, so that one that blocks stops no other.
Several schedulers may run: every step is a compare-and-set, so they can only be slower than one, not wrong.
"""
