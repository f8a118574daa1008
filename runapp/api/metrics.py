"""``/metrics``: what Prometheus reads. Numbers only, from the database: every web process tells the same."""

import json
from collections import defaultdict
from collections.abc import Iterator

from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from runapp import states
from runapp.models import Counter, Job
from runapp.services import runners
from runapp.services.metrics import BUCKETS

_COUNTERS = {
    "datarun_attempts": ("Attempts that ended, by outcome.", ("outcome",)),
    "datarun_dropped": ("Messages that changed nothing, by reason.", ("reason",)),
    "datarun_batches": ("Batches of the scheduler, by duty.", ("duty",)),
    "datarun_batch_items": ("Orders dispatched and messages collected in batches.", ("duty",)),
}
_HISTOGRAMS = {
    "datarun_wait_seconds": "From the post of a job to its start.",
    "datarun_run_seconds": "From the start of a job to its end.",
}


def metrics(request: HttpRequest) -> HttpResponse:
    registry = CollectorRegistry()
    registry.register(_Platform())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Platform(Collector):
    def collect(self) -> Iterator[Metric]:
        yield _jobs()
        yield _runners()
        stored: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
        for counter in Counter.objects.all():
            stored[counter.name].append((json.loads(counter.labels), counter.value))
        for name, (help_text, labels) in _COUNTERS.items():
            family = CounterMetricFamily(name, help_text, labels=labels)
            for values, value in stored[name]:
                family.add_metric([values[label] for label in labels], value)
            yield family
        for name, help_text in _HISTOGRAMS.items():
            yield _histogram(name, help_text, stored[name], stored[f"{name}_sum"])


def _jobs() -> Metric:
    family = GaugeMetricFamily("datarun_jobs", "Unfinished jobs.", labels=("state", "queue", "kind"))
    unfinished = Job.objects.filter(state__in=states.UNFINISHED)
    for state, queue, kind, number in unfinished.values_list("state", "queue", "kind").annotate(Count("id")):
        family.add_metric((state, queue, kind), number)
    return family


def _runners() -> Metric:
    family = GaugeMetricFamily("datarun_runners_live", "Runners that take orders.")
    family.add_metric((), runners.live().count())
    return family


def _histogram(
    name: str,
    help_text: str,
    buckets: list[tuple[dict[str, str], float]],
    sums: list[tuple[dict[str, str], float]],
) -> Metric:
    family = HistogramMetricFamily(name, help_text, labels=("queue", "kind"))
    for values, total in sums:
        key = (values["queue"], values["kind"])
        numbers = {found["le"]: number for found, number in buckets if (found["queue"], found["kind"]) == key}
        below, cumulative = 0.0, []
        for bound in (*(f"{bound:g}" for bound in BUCKETS), "+Inf"):
            below += numbers.get(bound, 0.0)
            cumulative.append((bound, below))
        family.add_metric(key, cumulative, total)
    return family
