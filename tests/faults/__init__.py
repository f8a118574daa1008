"""Faults: the real platform is broken in one way at a time, and must lose nothing.

`bin/test --faults` runs all of it. RabbitMQ, PostgreSQL, web, two schedulers and three runners run as separate
processes; as root each runner has a network of its own, so that a cable can be pulled.

    test_faults.py        one function a fault
    test_long_folds.py    folds that run for longer than the broker's `consumer_timeout`
    test_self_check.py    with a guard taken out, the fault that it is for must be noticed (`--self-check`)
    trial.py              what a fault is struck into, and what is counted afterwards
    workload.py           folds whose right predictions are known
    ledger.py             what PostgreSQL itself has seen happen to each job
    stack.py, isolation.py, clock.py, shovel.py, sabotage.py    what faults are made with

Nothing here may touch a process, a port or a folder that it did not make.
"""
