"""Makes the data of the kits beside it: ``python -m tests.kits.generate``. Random numbers, the same every time."""

from pathlib import Path

import numpy as np
import pandas as pd
from skimage.io import imsave

HERE = Path(__file__).parent
SPECIES = np.array(["ash", "beech", "cedar"])
Parts = tuple[tuple[str, int], ...]
PARTS: Parts = (("train", 48), ("test", 18))


def save(table: pd.DataFrame, kit: str, name: str) -> None:
    path = HERE / kit / "data" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, float_format="%.4f")


def species(rng: np.random.Generator, rows: int, classes: int = 3) -> pd.DataFrame:
    """Measurements of trees of some species, which overlap."""
    codes = rng.permutation(np.arange(rows) % classes)
    values = rng.normal(size=(rows, 4)) + codes[:, None] * [0.8, 0.0, -0.6, 0.3]
    return pd.DataFrame(values, columns=[f"m{i}" for i in range(4)]).assign(species=SPECIES[codes])


def classifiers(rng: np.random.Generator) -> None:
    for name, rows in PARTS:
        for kit in ("classifier", "estimator", "sklearn_pipeline"):
            save(species(rng, rows), kit, name)
        for label in ("valley", "ridge"):
            save(species(rng, rows, 2), "feature_extractor_classifier", f"{label}/{name}")


def regressors(rng: np.random.Generator) -> None:
    for name, rows in PARTS:
        X = pd.DataFrame(rng.normal(size=(rows, 3)), columns=list("abc"))
        height = 10 + X["a"] - 2 * X["b"] + rng.normal(scale=0.3, size=rows)
        width = 3 + X["c"] ** 2 + rng.normal(scale=0.2, size=rows)
        save(X.assign(height=height, width=width), "regressor", name)
        save(X.assign(y=height), "own_workflow", name)
        days = pd.date_range("2020-01-01", periods=rows).strftime("%Y-%m-%d")
        save(X.assign(y=width, day=days), "external_data", name)
        if name == "train":
            save(X.assign(y=height), "feature_extractor_regressor", name)


def series(rng: np.random.Generator) -> None:
    for name, months in (("train", 96), ("test", 48)):
        t = np.arange(months)
        values = 50 + 0.3 * t + 8 * np.sin(2 * np.pi * t / 12) + rng.normal(size=months)
        dates = pd.date_range("2000-01-01", periods=months, freq="MS").strftime("%Y-%m-%d")
        save(pd.DataFrame({"date": dates, "value": values}), "air_passengers", name)
        save(pd.DataFrame({"value": values}), "el_nino", name)


def mixtures(rng: np.random.Generator) -> None:
    for name, rows in PARTS:
        codes = rng.permutation(np.arange(rows) % 3)
        amount = rng.uniform(1, 5, size=rows)
        spectrum = np.eye(3)[codes] @ rng.normal(size=(3, 5)) + amount[:, None] + rng.normal(size=(rows, 5))
        table = pd.DataFrame(spectrum, columns=[f"w{i}" for i in range(5)])
        save(table.assign(substance=SPECIES[codes], amount=amount), "drug_spectra", name)


def events(rng: np.random.Generator) -> None:
    for name, first, number in (("train", 0, 8), ("test", 8, 4)):
        tables = []
        for event in range(first, first + number):
            clusters = np.repeat(np.arange(4), 5)
            angle = clusters * np.pi / 2 + rng.normal(scale=0.5, size=len(clusters))
            radius = rng.uniform(1, 3, size=len(clusters))
            tables.append(
                pd.DataFrame(
                    {
                        "event": event,
                        "x": radius * np.cos(angle),
                        "y": radius * np.sin(angle),
                        "cluster": clusters,
                    }
                )
            )
        save(pd.concat(tables), "clusterer", name)


def grids(rng: np.random.Generator) -> None:
    for name, rows in PARTS:
        codes = rng.permutation(np.arange(rows) % 2)
        fields = rng.normal(size=(rows, 3, 4)) + codes[:, None, None] * 0.4
        table = pd.DataFrame(fields.reshape(rows, 12), columns=[f"c{i}" for i in range(12)])
        save(table.assign(wet=codes), "grid", name)


def craters(rng: np.random.Generator) -> None:
    """Pictures of 16 by 16 with up to three bright discs: row, column, radius of each."""
    for name, number in (("train", 12), ("test", 6)):
        pixels, discs = rng.normal(scale=0.1, size=(number, 16, 16)), []
        rows, columns = np.mgrid[:16, :16]
        for picture in range(number):
            for _ in range(picture % 4):
                x, y, r = rng.uniform(3, 13), rng.uniform(3, 13), rng.uniform(1.5, 3)
                pixels[picture] += (rows - x) ** 2 + (columns - y) ** 2 < r**2
                discs.append({"picture": picture, "x": x, "y": y, "r": r})
        flat = pd.DataFrame(pixels.reshape(number, 256), columns=[f"p{i}" for i in range(256)])
        save(flat, "object_detector", f"{name}_pixels")
        save(pd.DataFrame(discs), "object_detector", f"{name}_discs")


def pictures(rng: np.random.Generator) -> None:
    for kit in ("image_classifier", "simplified_image_classifier"):
        folder = HERE / kit / "data" / "imgs"
        folder.mkdir(parents=True, exist_ok=True)
        number = 0
        for name, rows in (("train", 24), ("test", 9)):
            codes = rng.permutation(np.arange(rows) % 3)
            ids = [f"{number + row}.png" for row in range(rows)]
            number += rows
            for file, code in zip(ids, codes, strict=True):
                pixels = rng.integers(0, 120, size=(6, 6, 3))
                pixels[..., code] += rng.integers(0, 60)
                imsave(folder / file, pixels.astype(np.uint8), check_contrast=False)
            save(pd.DataFrame({"id": ids, "class": codes}), kit, name)


def main() -> None:
    for number, make in enumerate(
        (classifiers, regressors, series, mixtures, events, grids, craters, pictures)
    ):
        make(np.random.default_rng(number))


if __name__ == "__main__":
    main()
