"""A platform, as Python sees it."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from . import config, html, uploads
from .resources import Dataset, Fold, Submission, post_dataset
from .transport import Transport, check_service


class Client:
    """Speaks to one platform as one user.

    Without `url` and `token` it uses those of ``datarun login``, or ``DATARUN_URL`` and ``DATARUN_TOKEN``. Requests
    that can be repeated are tried again for a while where the platform is away; what goes wrong then is a
    `DatarunError` whose message names the fix.

    Parameters
    ----------
    url
        Where the platform is, such as ``https://datarun.example.org``.
    token
        From ``datarun login`` or `create_token`.
    timeout
        Seconds to wait for an answer to begin.
    patience
        Seconds in which a platform that is away is tried again.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 60.0,
        patience: float = 60.0,
    ) -> None:
        if url is None or token is None:
            found = config.login() if url is None else config.login_for(url)
            url, token = found.url, token or found.token
        self._transport = Transport(url, token, timeout=timeout, patience=patience)

    @property
    def url(self) -> str:
        return self._transport.url

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self.url}>"

    def _repr_html_(self) -> str:
        return html.card("datarun", {"platform": self.url, "user": self.me()["username"]})

    # --- who ---------------------------------------------------------------------------------------

    def service(self) -> dict[str, Any]:
        """The platform's name and version; raises `NotDatarun` or `OtherVersion` if it can't be spoken to."""
        found = self._transport.get("")
        check_service(found, self.url)
        return dict(found)

    def me(self) -> dict[str, Any]:
        """Your ``username``, ``email`` and ``roles``."""
        return dict(self._transport.get("users/me/"))

    def tokens(self) -> list[dict[str, Any]]:
        """Your tokens, without their texts."""
        return list(self._transport.pages("tokens/"))

    def create_token(self, name: str, expires_in_days: int | None = None) -> dict[str, Any]:
        """A new token; its text, ``token``, is shown this once."""
        days = {} if expires_in_days is None else {"expires_in_days": expires_in_days}
        return dict(self._transport.post("tokens/", {"name": name, **days}))

    def revoke_token(self, id: int | str) -> None:
        self._transport.delete(f"tokens/{id}/")

    # --- data sets ---------------------------------------------------------------------------------

    def datasets(self, search: str | None = None) -> Iterator[Dataset]:
        for raw in self._transport.pages("datasets/", search=search):
            yield Dataset(self._transport, raw)

    def dataset(self, name: str | int) -> Dataset:
        """The data set with this name or id."""
        return Dataset(self._transport, self._transport.get(f"datasets/{quote(str(name), safe='')}/"))

    def push(
        self,
        source: Path | str,
        name: str | None = None,
        target_column: str | None = None,
        elements: Sequence[str] | None = None,
        metrics: Sequence[str] | None = None,
        cv: Mapping[str, Any] | None = None,
        held_out_test: float | None = None,
        random_state: int | None = None,
        progress: uploads.Progress | None = None,
        **more: Any,
    ) -> Dataset:
        """Posts a data set; `Dataset.wait` waits until it is prepared.

        Parameters
        ----------
        source
            A csv, a folder with a ``datarun.toml``, or the folder of a RAMP kit. What is given here comes before what
            the ``datarun.toml`` says.
        name
            By default the name of the file or folder.
        target_column
            The column of a csv to predict.
        elements
            The files that a submission brings, such as ``["classifier"]``.
        metrics
            Names of scikit-learn scorers or RAMP score types, the official one first.
        cv
            ``{"splitter": "KFold", "parameters": {"n_splits": 5}, "groups": None}``.
        held_out_test, random_state
            Share of the rows in the test part, and the seed of the split.
        progress
            Called with the number of bytes that have gone up, and how many there are.

        Raises
        ------
        InputError
            The files can't be read, or don't make a data set.
        Refused
            The platform does not accept it; `errors` name fields and fixes.
        """
        return post_dataset(
            self._transport,
            Path(source),
            progress,
            name=name,
            target_column=target_column,
            elements=None if elements is None else list(elements),
            metrics=None if metrics is None else list(metrics),
            cv=cv,
            held_out_test=held_out_test,
            random_state=random_state,
            **more,
        )

    # --- submissions -------------------------------------------------------------------------------

    def submit(self, source: Any, dataset: str | int, **options: Any) -> Submission:
        """`Dataset.submit` to the data set with this name or id."""
        return self.dataset(dataset).submit(source, **options)

    def submissions(
        self,
        dataset: str | int | None = None,
        user: str | None = None,
        state: str | None = None,
        name: str | None = None,
    ) -> Iterator[Submission]:
        """Those that you may see, the latest first."""
        for raw in self._transport.pages("submissions/", dataset=dataset, user=user, state=state, name=name):
            yield Submission(self._transport, raw)

    def submission(self, id: int) -> Submission:
        return Submission(self._transport, self._transport.get(f"submissions/{id}/"))

    def fold(self, id: int) -> Fold:
        return Fold(self._transport, self._transport.get(f"folds/{id}/"))

    # --- for operators -----------------------------------------------------------------------------

    def runners(self) -> list[dict[str, Any]]:
        return list(self._transport.pages("runners/"))

    def jobs(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """The latest first; filters are ``state``, ``queue`` and ``kind``."""
        yield from self._transport.pages("jobs/", **filters)


def log_in(url: str, user: str, password: str, token_name: str | None = None) -> config.Login:
    """A new token for this user, not yet kept anywhere."""
    transport = Transport(url)
    check_service(transport.get(""), transport.url)
    made = transport.post(
        "tokens/", {"name": token_name or f"datarun on {socket.gethostname()}"[:100]}, auth=(user, password)
    )
    transport.close()
    return config.Login(transport.url, made["token"], user, made["id"])
