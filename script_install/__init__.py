"""Provisions a master and its runners over ssh, with Fabric, from two local files: `env.sh` and `list_runners.txt`.

What a step finds as it should be it leaves alone: run twice, nothing changes. It speaks to machines by
`machine.Machine` only, and to their service manager by `services` only.
"""
