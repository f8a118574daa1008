import os

import pandas as pd


class Table(pd.DataFrame):
    """A class of the kit's own, which X is of."""

    @property
    def _constructor(self):
        return Table


def read(path, name):
    table = pd.read_csv(os.path.join(path, "data", name + ".csv"))
    return Table(table.drop(columns="species")), table["species"].values
