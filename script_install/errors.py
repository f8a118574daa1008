"""What stops a task, or its part on one machine."""


class ProvisionError(Exception):
    """One sentence that names what is wrong and how to mend it. It never holds a secret."""
