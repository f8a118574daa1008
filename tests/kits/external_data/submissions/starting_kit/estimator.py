import os

import pandas as pd
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

WEATHER = os.path.join(os.path.dirname(__file__), "external_data.csv")


def _merge(X):
    weather = pd.read_csv(WEATHER)
    merged = X.assign(month=X["day"].dt.month).merge(weather, on="month", how="left")
    return merged.drop(columns=["day"]).fillna(0.0)


def get_estimator():
    model = GradientBoostingRegressor(n_estimators=10, random_state=0)
    return make_pipeline(FunctionTransformer(_merge), model)
