"""datarun: trains and tests machine-learning submissions on cross-validation folds.

Importing this package imports nothing else: the contract, the client, the runner and the Django
project live in sub-modules that do not need one another.
"""

__version__ = "0.1.0"
