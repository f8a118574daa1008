"""Requests to ``/api/v1/``: tries again what may be tried again, and says in one sentence what went wrong.

It knows nothing of data sets and submissions.
"""

import json
import random
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from datarun import __version__

from .errors import (
    ConfigError,
    DatarunError,
    Duplicate,
    Forbidden,
    NotDatarun,
    NotFound,
    NotLoggedIn,
    OtherVersion,
    PlatformFailed,
    Refused,
    TryLater,
    Unreachable,
)

if TYPE_CHECKING:
    import httpx

#: The version of the API that this client speaks.
API = 1

_LOCAL = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?(/|$)")
#: Answers that a later try may not get.
_PASSING = frozenset({429, 502, 503, 504})
_CONNECT, _READ = 10.0, 60.0  # seconds
#: Seconds in which a platform that has never answered is tried, and one that has.
_AT_FIRST, _PATIENCE = 2.0, 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0
_MOST_KNOWN = 256


def platform_url(text: str) -> str:
    """The address of a platform, as people write it, with a slash at its end; raises `ConfigError`."""
    url = text.strip()
    if "://" not in url:
        url = f"http{'' if _LOCAL.match(url) else 's'}://{url}"
    url = re.sub(r"/(api(/v\d+)?|docs|admin|runapp)/?$", "/", url).rstrip("/") + "/"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or any(c.isspace() for c in url):
        raise ConfigError(f"{text!r} is no address of a platform: use https://datarun.example.org.")
    if parts.username or parts.password:
        raise ConfigError("Leave user and password out of the address: log in with a token.")
    return url


class Transport:
    """One platform and one token. Not shared between threads."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = _READ,
        patience: float = _PATIENCE,
        first_pause: float = _FIRST_PAUSE,
    ) -> None:
        self.url, self._token = platform_url(url), token
        self._timeout, self._patience, self._first_pause = timeout, patience, first_pause
        self._answered = False
        self._lazy: httpx.Client | None = None
        # What GETs have answered, with their ETags: what has not changed is not sent again.
        self._known: OrderedDict[tuple[str, str], tuple[str, Any]] = OrderedDict()

    def close(self) -> None:
        if self._lazy is not None:
            self._lazy.close()

    # --- requests ----------------------------------------------------------------------------------

    def get(self, path: str, **params: Any) -> Any:
        """The JSON at `path`, which is below ``/api/v1/``."""
        params = {name: value for name, value in params.items() if value is not None}
        key = (path, json.dumps(params, sort_keys=True, default=str))
        etag, known = self._known.get(key, ("", None))
        headers = {"If-None-Match": etag} if etag else {}
        # No parameters at all, rather than empty ones, leave alone what `path` itself asks for.
        response = self._send("GET", path, params=params or None, headers=headers)
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            return known
        content = self._json(response)
        if etag := response.headers.get("ETag", ""):
            self._known[key] = (etag, content)
            self._known.move_to_end(key)
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return content

    def pages(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """All rows of a list, a page at a time."""
        page = self.get(path, **params)
        while True:
            yield from page["results"]
            if not (following := page["next"]):
                return
            # Below the address that we know: the platform may be behind a proxy and not know its own.
            page = self.get(following.partition(f"/api/v{API}/")[2])

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, auth: tuple[str, str] | None = None
    ) -> Any:
        """Posts JSON under a key of its own: tried again, it makes nothing twice. `auth`: user and password."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return self._json(self._send("POST", path, json=body or {}, headers=headers, auth=auth))

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._json(self._send("PATCH", path, json=body))

    def delete(self, path: str) -> None:
        self._send("DELETE", path)

    def send_bytes(self, method: str, path: str, headers: Mapping[str, str], content: bytes = b"") -> Any:
        """The answer's headers."""
        return self._send(method, path, headers=headers, content=content).headers

    def read(self, path: str, accept: str, **params: Any) -> tuple[bytes, str]:
        """The content at `path`, which may lie elsewhere, and its media type."""
        response = self._send("GET", path, params=params, headers={"Accept": accept}, follow_redirects=True)
        return response.content, response.headers.get("Content-Type", "").partition(";")[0]

    # --- one request -------------------------------------------------------------------------------

    def _send(self, method: str, path: str, **options: Any) -> "httpx.Response":
        """The answer, which is datarun's own and no error."""
        import httpx

        url = f"{self.url}api/v{API}/{path}"
        auth = options.pop("auth", None)
        options["auth"] = auth and httpx.BasicAuth(*(text.encode() for text in auth))
        patience = self._patience if self._answered else min(_AT_FIRST, self._patience)
        until, pause = None, self._first_pause
        while True:
            problem: DatarunError
            cause: Exception | None = None
            try:
                response = self._client.request(method, url, **options)
            except httpx.TransportError as error:
                problem, cause, wait = _unreachable(self.url, error), error, pause
                if _is_final(error):
                    raise problem from error
            else:
                found = self._problem(response, elsewhere=bool(response.history))
                if found is None:
                    self._answered = True
                    return response
                problem, wait = found, _retry_after(response) or pause
                if response.status_code not in _PASSING:
                    raise problem
            until = until or time.monotonic() + patience
            if time.monotonic() + wait > until:
                raise problem from cause
            time.sleep(wait * random.uniform(0.75, 1.0))  # noqa: S311 - so that clients don't come all at once
            pause = min(2 * pause, _LONGEST_PAUSE)

    @property
    def _client(self) -> "httpx.Client":
        if self._lazy is None:
            import httpx  # here, because it takes longer to import than all of datarun's client

            headers = {"User-Agent": f"datarun/{__version__}", "Accept": "application/json"}
            if self._token:
                headers["Authorization"] = f"Token {self._token}"
            timeout = httpx.Timeout(self._timeout, connect=min(_CONNECT, self._timeout))
            self._lazy = httpx.Client(headers=headers, timeout=timeout)
        return self._lazy

    # --- what is wrong with an answer --------------------------------------------------------------

    def _problem(self, response: "httpx.Response", elsewhere: bool) -> DatarunError | None:
        if elsewhere and response.is_success:  # content that the platform keeps in another place
            return None
        if response.has_redirect_location:
            return NotDatarun(
                f"{self.url} sends us on to {response.headers['Location'][:200]}: use that address, "
                "if it is the platform's (datarun login ADDRESS)."
            )
        version = response.headers.get("Datarun-Version")
        if version is None:
            return _stranger(self.url, response)
        if response.is_success or response.status_code == HTTPStatus.NOT_MODIFIED:
            return None
        return _refusal(response, version)

    def _json(self, response: "httpx.Response") -> Any:
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise NotDatarun(
                f"The answer of {response.url} is cut short, or no JSON: {response.text[:80]!r}. "
                "Is a proxy in between?"
            ) from error


def check_service(service: Any, url: str) -> None:
    """Whether the service document is that of a platform this client can speak to; raises if not."""
    if not isinstance(service, dict) or service.get("name") != "datarun":
        raise NotDatarun(f"{url} is no datarun platform: check the address.")
    if service.get("api") != API:
        raise OtherVersion(
            f"The platform at {url} (datarun {service.get('version')}) speaks version {service.get('api')} of the API, "
            f"this client (datarun {__version__}) version {API}: pip install --upgrade datarun."
        )


def _is_final(error: Exception) -> bool:
    """Whether the same would happen again, however often it is tried."""
    import httpx

    text = str(error)
    return isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError) or "CERTIFICATE" in text


def _unreachable(url: str, error: Exception) -> Unreachable:
    import httpx

    text = str(error)
    host = urlsplit(url).netloc
    if "CERTIFICATE" in text:
        why = "its certificate is not trusted. If it is your own, name it in SSL_CERT_FILE"
    elif isinstance(error, httpx.ProxyError):
        why = f"the proxy refused ({text}): see HTTPS_PROXY and NO_PROXY"
    elif isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        why = "no connection in time. Check the address and the network"
    elif isinstance(error, httpx.TimeoutException):
        why = "it took the connection, but did not answer in time"
    elif re.search(r"Name or service|nodename|getaddrinfo|name resolution|No address", text):
        why = f"no such host is known. Check the address ({host}) and the network"
    elif "refused" in text:
        why = f"nothing listens there. Check the address and its port ({host}), or is the platform down?"
    elif isinstance(error, httpx.ConnectError):
        why = f"no connection ({text}). Check the address and the network"
    else:
        why = f"the connection broke ({text or type(error).__name__})"
    return Unreachable(f"{url} can't be reached: {why}{'' if why.endswith('?') else '.'}")


def _stranger(url: str, response: "httpx.Response") -> DatarunError:
    """Who answers without datarun's header is something else."""
    status = f"{response.status_code} {response.reason_phrase}".strip()
    media_type = response.headers.get("Content-Type", "").partition(";")[0]
    title = re.search(r"<title>\s*(.*?)\s*</title>", response.text[:4096], re.I | re.S)
    what = "a web page" if media_type == "text/html" else media_type or "nothing"
    said = f" ({' '.join(title[1].split())[:80]!r})" if title else ""
    if response.status_code in _PASSING:
        return Unreachable(f"{url} can't be reached: a proxy in front of it answers {status}.")
    return NotDatarun(
        f"{url} answered {status} with {what}{said} where datarun's JSON should be: "
        "check the address; or a proxy or a login page is in between."
    )


def _refusal(response: "httpx.Response", version: str) -> DatarunError:
    status = response.status_code
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    detail = problem.get("detail") or problem.get("title") or f"{status} {response.reason_phrase}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return PlatformFailed(f"The platform failed ({status}): {detail}")
    if (
        status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE)
        and version != __version__
    ):
        detail += f" (The platform runs datarun {version}, this client is {__version__}.)"
    if status == HTTPStatus.UNAUTHORIZED:
        return NotLoggedIn(_login_hint(response, detail), status, problem)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _try_later(response, detail, problem)
    if status == HTTPStatus.CONFLICT and "submission" in problem:
        return Duplicate(detail, status, problem)
    kinds: dict[int, type[Refused]] = {HTTPStatus.FORBIDDEN: Forbidden, HTTPStatus.NOT_FOUND: NotFound}
    return kinds.get(status, Refused)(detail, status, problem)


def _login_hint(response: "httpx.Response", detail: str) -> str:
    scheme = response.request.headers.get("Authorization", "").partition(" ")[0]
    if scheme == "Basic":
        return "User or password are wrong."
    return f"The platform does not take your token: {detail.rstrip('.')}. Run datarun login."


def _retry_after(response: "httpx.Response") -> float | None:
    """Seconds, from `Retry-After`: a number or a date (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except ValueError:
        return None


def _try_later(response: "httpx.Response", detail: str, problem: Mapping[str, Any]) -> TryLater:
    seconds = _retry_after(response)
    if seconds is None:
        return TryLater(detail, response.status_code, problem)
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    if "possible again" in detail:
        return TryLater(detail, response.status_code, problem, at)
    when = f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if seconds >= 60 else f"in {seconds:.0f} s"
    return TryLater(f"{detail.rstrip('.')}. Possible again: {when}.", response.status_code, problem, at)
