"""Talk to a datarun platform over HTTP: one function a call.

Standalone on purpose: copy this file next to your own code. It needs Python 3.9 or newer, ``requests`` and
``numpy``, and nothing of datarun.

Every function starts with ``host_url`` (``"http://127.0.0.1:8000/"``, with or without the last slash),
``username`` and ``password`` (HTTP Basic authentication), and returns the :class:`requests.Response` as it
came. A refusal is a 4xx response whose JSON names the field and the fix; it is not raised: look at
``response.ok``, or call ``response.raise_for_status()``. What is raised is
:class:`requests.RequestException`, when the platform can't be reached or doesn't answer within
:data:`TIMEOUT`, :class:`OSError` when a file can't be read, and
:class:`ValueError` when indices or file names can't be sent.

Predictions come back as text, base64(zlib(float64, C order)). To read them::

    values = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<f8")

A classifier's are flat: ``values.reshape(n_rows, -1)`` has one row a sample and one column a class.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import requests
from requests.auth import HTTPBasicAuth

#: Seconds to wait for a connection, and then for each part of the answer.
TIMEOUT = (10.0, 120.0)


def post_data(
    host_url: str,
    username: str,
    password: str,
    data_name: str,
    target_column: str,
    workflow_elements: str,
    data_file: str | os.PathLike[str],
    extra_files: Iterable[str | os.PathLike[str]] | None = None,
    cv: dict[str, Any] | None = None,
    metrics: Iterable[str] | None = None,
) -> requests.Response:
    """Post a data set (``POST rawdata/``).

    :param host_url: address of the platform
    :param username: user's name
    :param password: user's password
    :param data_name: name of the data set; a taken one is answered with 400
        and "RawData with this name already exists"
    :param target_column: column of the csv to predict
    :param workflow_elements: the files that a submission must bring, comma separated, for instance
        ``"feature_extractor, classifier, calibrator"``
    :param data_file: path of the data file, a csv
    :param extra_files: paths of further files. One of them is then the custom module, a ``.py`` file that
        says how to prepare and read the data and how to train and test a submission
    :param cv: how the platform cuts folds, for :func:`post_submission`: a splitter of scikit-learn, such as
        ``{"splitter": "StratifiedKFold", "parameters": {"n_splits": 5}}``, or ``{"folds": [[train, test], …]}``
        with row numbers of the train part
    :param metrics: with ``cv``: names of scikit-learn's scorers or RAMP's score types, the official one first
    :return: the answer; its JSON has the data set's ``id``
    :raises ValueError: two files of the same name
    """
    body: dict[str, Any] = {
        "name": data_name,
        "target_column": target_column,
        "workflow_elements": workflow_elements,
        "files": _encode_files([data_file, *(extra_files or [])]),
    }
    if cv is not None:
        body["cv"] = cv
    if metrics is not None:
        body["metrics"] = list(metrics)
    return _post(host_url, username, password, "rawdata/", body)


def post_kit(
    host_url: str,
    username: str,
    password: str,
    data_name: str,
    kit: str | os.PathLike[str],
    data_label: str = "",
) -> requests.Response:
    """Post a RAMP starting kit as a data set (``POST kit/``). It is prepared at once.

    :param host_url: address of the platform
    :param username: user's name
    :param password: user's password
    :param data_name: name of the data set
    :param kit: path of the kit as a zip file, with ``problem.py`` in it
    :param data_label: which of its data to read, if its functions take a ``data_label``
    :return: the answer; its JSON has the data set's ``id``
    """
    body = {"name": data_name, "zip": _encode(Path(kit).read_bytes()), "data_label": data_label}
    return _post(host_url, username, password, "kit/", body)


def post_submission(
    host_url: str,
    username: str,
    password: str,
    raw_data: int | str,
    list_submission_files: Iterable[str | os.PathLike[str]],
    name: str = "",
    priority: str = "L",
) -> requests.Response:
    """Submit to a data set that has a cross-validation (``POST submission/``): all its folds are made and scored.

    :param host_url: address of the platform
    :param username: user's name
    :param password: user's password
    :param raw_data: id or name of the data set
    :param list_submission_files: paths of the submission's files
    :param name: what to call it
    :param priority: queue for the folds: ``"L"``, light, or ``"H"``, heavy
    :return: the answer; its JSON has the submission's ``id``
    :raises ValueError: two files of the same name
    """
    body = {
        "raw_data": raw_data,
        "files": _encode_files(list_submission_files),
        "name": name,
        "priority": priority,
    }
    return _post(host_url, username, password, "submission/", body)


def get_submission(host_url: str, username: str, password: str, submission_id: int) -> requests.Response:
    """See how a submission fares (``GET submission/<id>/``): its folds, their scores, and the bagging.

    :param host_url: address of the platform
    :param username: user's name
    :param password: user's password
    :param submission_id: id of the submission, from :func:`post_submission`
    :return: the answer; its JSON has ``folds``, ``scores``, ``bagging``, ``waiting`` and ``failure``
    """
    return _get(host_url, username, password, f"submission/{submission_id}/")


def get_leaderboard(host_url: str, username: str, password: str, raw_data_id: int) -> requests.Response:
    """Get the leaderboard of a data set (``GET rawdata/<id>/leaderboard/``).

    :param host_url: address of the platform
    :param username: user's name
    :param password: user's password
    :param raw_data_id: id of the data set
    :return: the answer; its JSON has ``official``, ``metrics`` and ``submissions``, the best first
    """
    return _get(host_url, username, password, f"rawdata/{raw_data_id}/leaderboard/")


def post_metrics(
    host_url: str, username: str, password: str, raw_data_id: int, metrics: Iterable[str]
) -> requests.Response:
    """Add metrics to a data set (``POST rawdata/<id>/metrics/``): what was predicted is scored by them.

    :param host_url: address of the platform
    :param username: user's name
    :param password: user's password
    :param raw_data_id: id of the data set
    :param metrics: names of further metrics
    :return: the answer; its JSON is the data set
    """
    return _post(host_url, username, password, f"rawdata/{raw_data_id}/metrics/", {"metrics": list(metrics)})


def post_split(
    host_url: str,
    username: str,
    password: str,
    held_out_test: float,
    raw_data_id: int,
    random_state: int = 42,
) -> requests.Response:
    """Split a data set's csv, shuffled, into a train part and a held-out test part (``POST rawdata/split/``).

    The rows are those of ``sklearn.model_selection.train_test_split(test_size=held_out_test,
    random_state=random_state)``. The split runs as a job: folds posted meanwhile wait for it.

    :param host_url: address of the platform
    :param username: user's name
    :param password: user's password
    :param held_out_test: share of the rows held out for the test, between 0 and 1, both excluded
    :param raw_data_id: id of the data set, from :func:`post_data`
    :param random_state: seed of the shuffle
    :return: the answer; its JSON has the job's ``task_id``
    """
    body = {"raw_data_id": raw_data_id, "held_out_test": held_out_test, "random_state": random_state}
    return _post(host_url, username, password, "rawdata/split/", body)


def custom_post_split(host_url: str, username: str, password: str, raw_data_id: int) -> requests.Response:
    """Prepare a data set with the ``prepare_data`` of its custom module (``POST rawdata/customsplit/``).

    :param host_url: address of the platform
    :param username: user's name
    :param password: user's password
    :param raw_data_id: id of the data set, from :func:`post_data`
    :return: the answer; its JSON has the job's ``task_id``
    """
    return _post(host_url, username, password, "rawdata/customsplit/", {"raw_data_id": raw_data_id})


def post_submission_fold(
    host_url: str,
    username: str,
    password: str,
    sub_id: int,
    sub_fold_id: int,
    train_is: npt.ArrayLike,
    test_is: npt.ArrayLike,
    priority: str = "L",
    raw_data_id: int | None = None,
    list_submission_files: Iterable[str | os.PathLike[str]] | None = None,
    force: str | None = None,
) -> requests.Response:
    """Post one cross-validation fold of a submission (``POST submissionfold/``).

    The first fold of a submission brings its files and names its data set; the others need neither::

        files = ["classifier.py"]
        post_submission_fold(*platform, 1, 1, train_is, test_is, raw_data_id=3, list_submission_files=files)
        post_submission_fold(*platform, 1, 2, other_train_is, other_test_is)

    :param host_url: address of the platform
    :param username: user's name
    :param password: user's password
    :param sub_id: your id for the submission
    :param sub_fold_id: your id for this fold, unique over all submissions
    :param train_is: shape (n_train,), any integer dtype: rows of the train part to train on, counted from 0.
        Repeated rows are allowed (bootstrap)
    :param test_is: shape (n_test,), any integer dtype: rows of the train part to validate on, none of them
        in ``train_is``
    :param priority: queue for the fold: ``"L"``, light, or ``"H"``, heavy
    :param raw_data_id: id of the data set, for a new submission
    :param list_submission_files: paths of the submission's files, for a new submission
    :param force: what to replace if it exists: ``"submission_fold"``, this fold, or
        ``"submission, submission_fold"``, the submission with all of its folds. ``None`` replaces nothing
    :return: the answer; its JSON is the fold with the job's ``task_id``
    :raises ValueError: indices that aren't integers in one dimension; two files of the same name
    """
    body: dict[str, Any] = {
        "databoard_s_id": sub_id,
        "databoard_sf_id": sub_fold_id,
        "train_is": _encode_indices("train_is", train_is),
        "test_is": _encode_indices("test_is", test_is),
        "priority": priority,
    }
    if raw_data_id is not None:
        body["raw_data"] = raw_data_id
    if list_submission_files is not None:
        body["files"] = _encode_files(list_submission_files)
    if force is not None:
        body["force"] = force
    return _post(host_url, username, password, "submissionfold/", body)


def get_prediction_list(
    host_url: str, username: str, password: str, list_submission_fold_id: Iterable[int]
) -> requests.Response:
    """Get the predictions of some folds, and mark them as no longer new (``POST testpredictions/list/``).

    :param host_url: address of the platform
    :param username: user's name
    :param password: user's password
    :param list_submission_fold_id: ids of the folds
    :return: the answer; its JSON is a list with, for each fold, ``databoard_sf_id``, ``databoard_s``,
        ``test_predictions`` and ``full_train_predictions`` (encoded as the module says), ``state``,
        ``log_messages``, ``train_time``, ``validation_time``, ``test_time``, ``train_cpu_time``,
        ``test_cpu_time``, ``train_memory`` and ``test_memory``
    """
    body = {"list_submission_fold": list(list_submission_fold_id)}
    return _post(host_url, username, password, "testpredictions/list/", body)


def get_prediction_new(
    host_url: str, username: str, password: str, raw_data_id: int | None = None
) -> requests.Response:
    """Get the predictions of the tested folds that nobody asked for yet (``POST testpredictions/new/``).

    Each fold is given once: a second call, whoever makes it, doesn't get it again. An answer that got lost
    can still be read with :func:`get_prediction_list`.

    :param host_url: address of the platform
    :param username: user's name
    :param password: user's password
    :param raw_data_id: id of the data set, or ``None`` for the folds of all data sets
    :return: the answer; its JSON is a list like that of :func:`get_prediction_list`
    """
    body = {} if raw_data_id is None else {"raw_data_id": raw_data_id}
    return _post(host_url, username, password, "testpredictions/new/", body)


def get_raw_data(host_url: str, username: str, password: str) -> requests.Response:
    """List the data sets (``GET rawdata/``).

    :param host_url: address of the platform
    :param username: user's name
    :param password: user's password
    :return: the answer; its JSON is a list with the ``id``, ``name``, … of each data set
    """
    return _get(host_url, username, password, "rawdata/")


def get_submission_fold_light(host_url: str, username: str, password: str) -> requests.Response:
    """List the folds with the little that polling needs (``GET submissionfold-light/``).

    :param host_url: address of the platform
    :param username: user's name
    :param password: user's password
    :return: the answer; its JSON is a list with the ``databoard_sf_id``, ``databoard_s``, ``state`` and
        ``new`` of each fold
    """
    return _get(host_url, username, password, "submissionfold-light/")


def get_submission_fold(host_url: str, username: str, password: str) -> requests.Response:
    """List the folds (``GET submissionfold/``), with their predictions and indices left ``null``.

    :param host_url: address of the platform
    :param username: user's name
    :param password: user's password
    :return: the answer; its JSON is a list with the state, log, times and memory of each fold
    """
    return _get(host_url, username, password, "submissionfold/")


def get_submission_fold_detail(
    host_url: str, username: str, password: str, submission_fold_id: int
) -> requests.Response:
    """Get everything about one fold, predictions and indices included (``GET submissionfold/<id>/``).

    :param host_url: address of the platform
    :param username: user's name
    :param password: user's password
    :param submission_fold_id: id of the fold
    :return: the answer; its JSON is the fold
    """
    return _get(host_url, username, password, f"submissionfold/{submission_fold_id}/")


def _get(host_url: str, username: str, password: str, route: str) -> requests.Response:
    return requests.get(_url(host_url, route), auth=_auth(username, password), timeout=TIMEOUT)


def _post(host_url: str, username: str, password: str, route: str, body: dict[str, Any]) -> requests.Response:
    return requests.post(
        _url(host_url, route),
        data=json.dumps(body, default=_plain_number),
        headers={"Content-Type": "application/json"},
        auth=_auth(username, password),
        timeout=TIMEOUT,
    )


def _url(host_url: str, route: str) -> str:
    return f"{host_url.rstrip('/')}/runapp/{route}"


def _auth(username: str, password: str) -> HTTPBasicAuth:
    # As bytes, because requests would encode text as Latin-1, which not every name fits.
    return HTTPBasicAuth(username.encode(), password.encode())


def _plain_number(value: object) -> Any:
    """Let ids that come out of an array or a DataFrame pass as the numbers they are."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} can't be sent as JSON: pass a string or a number")


def _encode(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw)).decode("ascii")


def _encode_files(paths: Iterable[str | os.PathLike[str]]) -> dict[str, str]:
    """Read files as bytes, whatever they hold, and give their encoded contents by base name."""
    files: dict[str, str] = {}
    for path in map(Path, paths):
        if path.name in files:
            raise ValueError(f"two of the files are named {path.name}: rename one, folders aren't sent")
        files[path.name] = _encode(path.read_bytes())
    return files


def _encode_indices(name: str, indices: npt.ArrayLike) -> str:
    array = np.asarray(indices)
    if array.ndim != 1:
        raise ValueError(f"{name} has {array.ndim} dimensions: pass a flat list of row numbers")
    # An empty list has no dtype of its own (numpy says float64). It is the platform's to refuse.
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} holds {array.dtype}: pass integers, the row numbers (of a mask, np.flatnonzero)"
        )
    return _encode(array.astype("<i8").tobytes(order="C"))
