"""``/metrics``: what Prometheus reads. Numbers only, from the database: every web process tells the same."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate

from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from datarun.contract import queues
from datarun.contract.states import JobKind
from runapp import states
from runapp.models import Counter, Job
from runapp.services import runners
from runapp.services.metrics import COUNTERS, HISTOGRAMS, Histogram

#: Labels and value of each of the counters of one name.
Counted = Iterable[tuple[dict[str, str], float]]

#: Queue and kind of the jobs that there may be.
_WHERE = [*((queue, JobKind.FOLD) for queue in queues.PRIORITIES), (queues.PREPARATION, JobKind.PREPARE)]


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
        for name, (help_text, labels) in COUNTERS.items():
            family = CounterMetricFamily(name, help_text, labels=labels)
            for values, value in stored[name]:
                family.add_metric([values[label] for label in labels], value)
            yield family
        for name, histogram in HISTOGRAMS.items():
            yield _histogram(name, histogram, stored[name], stored[f"{name}_sum"])


def _jobs() -> Metric:
    family = GaugeMetricFamily("datarun_jobs", "Unfinished jobs.", labels=("state", "queue", "kind"))
    # Where there are none it says 0: an alert needs a number.
    numbers = {(state, *where): 0 for state in states.UNFINISHED for where in _WHERE}
    unfinished = Job.objects.filter(state__in=states.UNFINISHED)
    for *labels, number in unfinished.values_list("state", "queue", "kind").annotate(Count("id")):
        numbers[tuple(labels)] = number
    for values, number in numbers.items():
        family.add_metric(values, number)
    return family


def _runners() -> Metric:
    family = GaugeMetricFamily("datarun_runners_live", "Runners that take orders.")
    family.add_metric((), runners.live().count())
    return family


def _histogram(name: str, histogram: Histogram, buckets: Counted, sums: Counted) -> Metric:
    family = HistogramMetricFamily(name, histogram.help, labels=histogram.labels)
    numbers = {
        (values["le"], *(values[label] for label in histogram.labels)): number for values, number in buckets
    }
    for values, total in sums:
        key = tuple(values[label] for label in histogram.labels)
        upto = accumulate(numbers.get((bucket, *key), 0.0) for bucket in histogram.buckets)
        family.add_metric(key, list(zip(histogram.buckets, upto, strict=True)), total)
    return family
