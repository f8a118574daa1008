"""The queues between master and runners, named by what runners subscribe to."""

LIGHT = "L"
HEAVY = "H"
PREPARATION = "celery"

#: What a runner may take orders from.
ORDER_QUEUES = (LIGHT, HEAVY, PREPARATION)
#: The priorities that a submission fold may have: the queue it is trained on.
PRIORITIES = (LIGHT, HEAVY)

#: Claims and outcomes: everything that moves a job's state, in order.
RESULTS = "results"
#: Heartbeats and stages: may be lost without harm.
EVENTS = "events"
#: Several schedulers may listen to these; one at a time gets messages, in order.
COLLECTED = (RESULTS, EVENTS)
#: Messages that nobody could decode, with the reason.
PARKED = "parked"


def control(runner: str) -> str:
    """The queue that tells one runner what to stop."""
    return f"control.{runner}"
