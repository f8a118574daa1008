"""``manage.py test``: the project's tests are pytest's; this hands them over."""

from typing import Any

import pytest


class PytestRunner:
    """Django's test runner interface in front of pytest: the tests that the settings' database suffices for."""

    def __init__(
        self, verbosity: int = 1, failfast: bool = False, keepdb: bool = False, **kwargs: Any
    ) -> None:
        self._arguments = [
            *(["-v"] if verbosity > 1 else []),
            *(["-x"] if failfast else []),
            *(["--reuse-db"] if keepdb else []),
        ]

    @classmethod
    def add_arguments(cls, parser: Any) -> None:
        parser.add_argument("-k", "--keepdb", action="store_true", help="Keep the test database.")

    def run_tests(self, test_labels: list[str]) -> int:
        """Runs pytest on these paths; returns its exit code."""
        paths = test_labels or ["tests/unit", "tests/integration"]
        return int(pytest.main([*self._arguments, "--without-servers", *paths]))
