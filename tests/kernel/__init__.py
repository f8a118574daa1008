"""Runners on another kernel than this machine's: Debian's, booted under emulation (``bin/test --kernel``).

Control groups of version 2 with memory and processes in them, as current distributions have them, can't be made where
version 1 holds these controllers, as in many containers and small virtual machines.
"""
