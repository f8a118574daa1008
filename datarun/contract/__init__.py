"""What master, runner and client agree on: names, states, messages and how bytes travel.

Standard library and numpy only. Nothing here opens a file, a socket or a database.
"""
