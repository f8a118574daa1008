"""Does everything when it is imported: writes, forks, threads, changes libraries."""

import os
import threading
import time

import numpy as np

from .right import Right

open("trace", "w").close()
np.sqrt = np.exp
threading.Thread(target=time.sleep, args=(60,)).start()
if os.fork() == 0:
    time.sleep(60)


class Classifier(Right):
    pass
