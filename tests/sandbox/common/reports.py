"""How a hostile submission speaks in the name of the process that runs it."""

import json
import os

STATUS = 3


def write(content):
    left = memoryview(content)
    while left:
        left = left[os.write(STATUS, left) :]


def write_predictions(part, content):
    write(json.dumps({"event": "predictions", "part": part, "size": len(content)}).encode() + b"\n")
    write(content)
