import numpy as np


def fit(X, y, ridge):
    A = X.values
    weights = np.linalg.solve(A.T @ A + ridge * np.eye(A.shape[1]), A.T @ (y - y.mean()))
    mean = y.mean()
    return lambda X: X.values @ weights + mean
