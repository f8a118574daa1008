"""Kills one of its threads, and with it all of them."""

import signal
import threading
import time

from .tries import system_call

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        thread = threading.Thread(target=time.sleep, args=(60,))
        thread.start()
        system_call("tkill", thread.native_id, signal.SIGKILL)
        time.sleep(60)
