"""Where ``celery -A datarun`` looks for the app: a runner's."""

from datarun.runner.app import app

__all__ = ["app"]
