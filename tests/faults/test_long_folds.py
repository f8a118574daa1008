"""Folds that run for longer than RabbitMQ lets a message go unacknowledged: each runs once."""

import re
from collections import Counter

import amqp
import pytest
from kombu import Connection, Consumer, Message, Producer, Queue

from .conftest import Say, Stacks, number_of_folds
from .ledger import wait_for
from .trial import Trial

_TIMEOUT = 5000  # milliseconds; by default it is half an hour, looked at once a minute


def test_folds_longer_than_the_consumer_timeout_run_once(
    stacks: Stacks, say: Say, request: pytest.FixtureRequest
) -> None:
    options = request.config.option
    stack = stacks.new(consumer_timeout=_TIMEOUT)
    try:
        _expect_enforcement(stack.rabbit.url)
        trial = Trial(stack, options.seed, number_of_folds(options), say)
        run_long_folds(trial)
        starts = Counter(re.findall(r"job (\S+), attempt \d+: .* started", stack.log_of_runners()))
        assert set(starts.values()) == {1}, "a job was started twice"
    finally:
        stacks.discard()


def run_long_folds(trial: Trial) -> None:
    with trial.strike("folds of 15 s, consumer_timeout 5 s", long=4) as fault:
        wait_for(lambda: not trial.stack.ledger.left(fault.long), "the end of the long folds")


def _expect_enforcement(url: str) -> None:
    """The broker closes the channel of a consumer that keeps a message: the setting is in force."""
    held: list[Message] = []
    with Connection(url) as connection:
        queue = Queue("faults.held", durable=True, queue_arguments={"x-queue-type": "quorum"})
        bound = queue(connection.default_channel)
        bound.queue_declare()
        Producer(connection.default_channel).publish(b"", routing_key=bound.name, content_type="text/plain")
        Consumer(connection.default_channel, [bound], on_message=held.append, auto_declare=False).consume()
        with pytest.raises(amqp.PreconditionFailed, match="timed out"):
            for _ in range(4):
                try:
                    connection.drain_events(timeout=_TIMEOUT / 1000)
                except TimeoutError:
                    continue
    assert held
