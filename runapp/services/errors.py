"""How a service refuses input."""


class BadInput(Exception):
    """Input that can't be accepted: which field, and how to mend it. Nothing has been written."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
