"""What a fold can see of its surroundings, and how a vandal leaves them."""

import decimal
import gc
import json
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import warnings

import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.ensemble import RandomForestClassifier

PLACES = ("/dev/shm", "/tmp", "/var/tmp", "/run", "/dev/mqueue")


def observe():
    """Name → what is seen; the same for every fold of a submission."""
    home = os.getcwd()
    return {
        "numpy": (float(np.sqrt(4.0)), np.geterr(), np.get_printoptions()["precision"], np.ones(2).tolist()),
        "sklearn": (sklearn.get_config()["assume_finite"], RandomForestClassifier.fit.__module__),
        "pandas": pd.get_option("display.max_rows"),
        "joblib": type(joblib.parallel.get_active_backend()[0]).__name__,
        "random": (random.random(), np.random.rand()),
        "builtins": (len("four"), round(2.5), sys.getrecursionlimit(), gc.get_threshold(), gc.isenabled()),
        "modules": "vandal" in sys.modules,
        "environment": {name: value.replace(home, "") for name, value in os.environ.items()},
        "path": [path.replace(os.path.dirname(home), "") for path in sys.path],
        "home": os.listdir(home),
        "temporary": tempfile.gettempdir().replace(home, ""),
        "places": [os.path.lexists(os.path.join(place, "vandal")) for place in (*PLACES, os.path.dirname(home))],
        "signals": [str(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGINT)],
        "mask": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "umask": _umask(),
        "priority": (os.nice(0), len(os.sched_getaffinity(0)), os.sched_getscheduler(0)),
        "limits": [resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in ("CORE", "NOFILE", "STACK")],
        "threads": threading.active_count(),
        "decimals": decimal.getcontext().prec,
        "warnings": len(warnings.filters),
        "hash": hash("four"),
    }


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def vandalise():
    """Changes all of it, as far as it goes."""
    np.sqrt = np.exp
    np.ones = lambda *arguments: np.zeros(2)
    np.seterr(all="ignore", over="raise")
    np.set_printoptions(precision=1)
    sklearn.set_config(assume_finite=True)
    RandomForestClassifier.fit = vandalise
    vandalise.__module__ = "vandal"
    pd.set_option("display.max_rows", 7)
    joblib.register_parallel_backend("vandal", joblib.parallel.SequentialBackend, make_default=True)
    joblib.parallel_config("sequential").__enter__() if hasattr(joblib, "parallel_config") else None
    random.seed(1)
    np.random.seed(1)
    sys.setrecursionlimit(777)
    gc.disable()
    gc.set_threshold(1)
    sys.modules["vandal"] = sys
    os.environ["VANDAL"] = os.environ["OMP_NUM_THREADS"] = "99"
    sys.path.append("vandal")
    os.makedirs("vandal")
    tempfile.tempdir = os.path.join(os.getcwd(), "vandal")
    for place in (*PLACES, os.path.dirname(os.getcwd())):
        try:
            os.mkdir(os.path.join(place, "vandal"))
        except OSError:
            continue
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    os.umask(0o77)
    os.nice(5)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99))
    threading.Thread(target=threading.Event().wait).start()
    decimal.getcontext().prec = 3
    warnings.simplefilter("ignore")


def tell(**values):
    print(json.dumps(values))
