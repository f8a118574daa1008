"""The Django app of the master."""

from django.apps import AppConfig


class RunappConfig(AppConfig):
    name = "runapp"
    verbose_name = "datarun"

    def ready(self) -> None:
        from .services import deletion  # noqa: F401 - connects its signal receivers
