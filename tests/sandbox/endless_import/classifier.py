"""Never ends being imported."""

from .right import Right

while True:
    pass


class Classifier(Right):
    pass
