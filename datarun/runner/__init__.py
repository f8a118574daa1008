"""A runner: takes orders from its queues, runs them sandboxed, reports what came of them.

It needs a broker, the master's URL and its own token: no Django, no database, no shared disk.
"""
