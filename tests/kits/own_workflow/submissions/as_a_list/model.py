def fit(X, y, ridge):
    mean = y.mean()
    slope = ((X["b"] * (y - mean)).sum()) / ((X["b"] ** 2).sum() + ridge)
    return lambda X: (mean + slope * X["b"]).values
