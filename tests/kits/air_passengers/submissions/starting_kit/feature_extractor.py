import os

import pandas as pd


class FeatureExtractor:
    def fit(self, X_df, y):
        pass

    def transform(self, X_df):
        path = os.path.dirname(__file__)
        holidays = pd.read_csv(os.path.join(path, "external_data.csv"), index_col="month")["holidays"]
        features = X_df.assign(holidays=holidays.reindex(X_df.index.month).values)
        return features.assign(before=X_df["value"].shift(11).bfill()).values
