"""One fold in this process, by nothing but the module and the submission: prints its peak memory in MB."""

import resource

from . import data
from .folds import cut

X_train, y_train = data.get_train_data("")
X_test, y_test = data.get_test_data("")
model = data.train_submission(__package__, X_train, y_train, cut(0)[0])
data.test_submission(model, X_train, range(len(X_train)))
data.test_submission(model, X_test, range(len(X_test)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)
