"""Questions over HTTP, asked a bounded number of times, and the cache of their answers.

A question is asked at most ATTEMPTS times, TOTAL_S seconds in all. What may pass (429, 5xx, time-outs, broken
connections, answers that are cut or that the server left in part) is asked again after a pause; what will not (no
network, 4xx) ends at once.
The cache is the folder GENTRAFFIC_CACHE, else XDG_CACHE_HOME/gentraffic, else ~/.cache/gentraffic: one file for each
question, the answer after its own SHA-256. A damaged entry is asked for again. Delete the folder to get newer data.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from gentraffic import __version__
from gentraffic.errors import GentrafficError
from gentraffic.io.atomic import replacing
from poi.errors import BadFile, NetworkFailed

T = TypeVar("T")
LOG = logging.getLogger(__name__)

USER_AGENT = f"gentraffic/{__version__} (synthetic cellular traffic from OpenStreetMap)"
ATTEMPTS = 4
BACKOFF_S = (2.0, 8.0, 30.0)  # before the second, third and fourth attempt
MAX_WAIT_S = 60.0  # however long a server asks us to wait
TOTAL_S = 900.0
MAX_ANSWER = 1 << 29  # bytes, unfolded
PASSING = {429: "too many requests", 500: "server error", 502: "bad gateway", 503: "unavailable", 504: "time-out"}
_PIECE = 1 << 16


@dataclass(frozen=True)
class Question:
    """A GET, or the POST of a form. `what` names it in messages; `timeout_s` bounds each attempt's silence."""

    url: str
    form: str | None
    what: str
    timeout_s: float

    @property
    def key(self) -> str:
        """Name of the question in the cache."""
        return hashlib.sha256(f"{self.url}\n{self.form or ''}".encode()).hexdigest()


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What was read from an answer's body; `warning` where it could not be kept in the cache."""

    content: T
    body: bytes
    warning: str = ""


class InPart(NetworkFailed):
    """What `read` raises for an answer that the server had no time or room to finish, as it says itself."""


class _MayPass(Exception):
    """A failure that a later attempt may not meet."""

    def __init__(self, answer: str, wait_s: float = 0.0) -> None:
        super().__init__(answer)
        self.wait_s = wait_s


def cache_folder() -> Path:
    """Where answers are kept."""
    own = os.environ.get("GENTRAFFIC_CACHE")
    shared = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(shared, "gentraffic")


def ask(question: Question, read: Callable[[bytes], T], *, offline: bool = False) -> Answer[T]:
    """The answer to a question, from the cache or else from the server; only answers that `read` accepts are kept.

    read: body -> content; raises BadFile or ValueError for a body that is cut or foreign, and InPart; these are asked
    for again.
    Raises NetworkFailed, naming server and fix, where no attempt succeeds or, offline, the cache has no whole one."""
    file = cache_folder() / f"{question.key}.answer"
    kept, damaged = _kept(file)
    if kept is not None:
        try:
            return Answer(read(kept), kept)
        except (BadFile, ValueError, InPart):
            damaged = True
    if offline:
        state = "damaged" if damaged else "missing"
        raise NetworkFailed(
            f"--offline, and the answer of {question.what} is {state} in the cache {cache_folder()}: "
            "ask once without --offline, or give --osm FILE"
        )
    LOG.info("asking for %s", question.what)
    content, body = _ask_server(question, read)
    return Answer(content, body, _keep(file, body))


def _ask_server(question: Question, read: Callable[[bytes], T]) -> tuple[T, bytes]:
    deadline = time.monotonic() + TOTAL_S
    answer = ""
    partial: InPart | None = None
    for attempt in range(ATTEMPTS):
        try:
            body = _request(question, deadline)
            return read(body), body
        except InPart as error:
            partial, wait = error, 0.0
        except _MayPass as error:
            answer, wait = str(error), error.wait_s
        except (BadFile, ValueError, RecursionError) as error:
            answer, wait = f"an answer that is cut or foreign ({' '.join(str(error).split())[:100]})", 0.0
        if attempt + 1 < ATTEMPTS:
            pause = max(BACKOFF_S[attempt], min(wait, MAX_WAIT_S))
            if time.monotonic() + pause >= deadline:
                break
            time.sleep(pause)
    if partial is not None:
        raise partial
    host = urllib.parse.urlsplit(question.url).netloc
    raise NetworkFailed(f"{question.what}: {host} gave {answer}, {attempt + 1} times: try later, or give --osm FILE")


def _request(question: Question, deadline: float) -> bytes:
    """One attempt: the body of a 200. Raises _MayPass, or NetworkFailed for what no later attempt will change."""
    parts = urllib.parse.urlsplit(question.url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise NetworkFailed(f"{question.url.split('?')[0]} is no http address: set the server's URL right")
    headers = {"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "gzip"}
    data = None if question.form is None else question.form.encode()
    request = urllib.request.Request(question.url, data, headers)
    silence = min(question.timeout_s, max(deadline - time.monotonic(), 1.0))
    try:
        with urllib.request.urlopen(request, timeout=silence) as response:
            return _body(response, deadline)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in PASSING:
                raise _MayPass(f"{error.code} ({PASSING[error.code]})", _retry_after(error)) from None
            raise NetworkFailed(
                f"{question.what}: {parts.netloc} answered {error.code}: check the server's URL"
            ) from None
    except (TimeoutError, ConnectionResetError, http.client.HTTPException) as error:
        raise _MayPass(_reason(error)) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError | ConnectionResetError):
            raise _MayPass(_reason(error.reason)) from None
        raise _unreachable(question, error.reason) from None
    except OSError as error:
        raise _unreachable(question, error) from None


def _body(response: Any, deadline: float) -> bytes:
    """The whole body, unfolded. Raises _MayPass where it is cut or slow, NetworkFailed where it is too large."""
    unfold = zlib.decompressobj(wbits=31) if response.headers.get("Content-Encoding") == "gzip" else None
    body, received = bytearray(), 0
    while piece := response.read(_PIECE):
        received += len(piece)
        try:
            body += unfold.decompress(piece, MAX_ANSWER + 1 - len(body)) if unfold else piece
        except zlib.error:
            raise _MayPass("a damaged answer") from None
        if len(body) > MAX_ANSWER:
            raise NetworkFailed(
                f"the answer is larger than {MAX_ANSWER} bytes: ask for a smaller area, or give --osm FILE"
            )
        if time.monotonic() > deadline:
            raise _MayPass("no whole answer in time")
    length = response.headers.get("Content-Length")
    if (unfold and not unfold.eof) or (length and length.isdigit() and received < int(length)):
        raise _MayPass(f"an answer cut off after {received} bytes")
    return bytes(body)


def _retry_after(error: urllib.error.HTTPError) -> float:
    answer = error.headers.get("Retry-After", "")
    return float(answer) if answer.isdigit() else 0.0


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"a broken connection ({type(error).__name__})"


def _unreachable(question: Question, reason: object) -> NetworkFailed:
    host = urllib.parse.urlsplit(question.url).netloc
    why = str(reason)
    if isinstance(reason, socket.gaierror):
        why = "its name is not known here"
    elif isinstance(reason, ssl.SSLError):
        why = f"its certificate is not trusted ({reason.reason})"
    elif isinstance(reason, OSError) and reason.strerror:
        why = reason.strerror.lower()
    return NetworkFailed(
        f"{question.what}: cannot reach {host} ({why}): check the network, or give --osm FILE with an extract"
    )


def _kept(file: Path) -> tuple[bytes | None, bool]:
    """The body in the cache, or None, and whether there is an entry that is damaged."""
    try:
        if file.stat().st_size > MAX_ANSWER + 65:
            return None, True
        digest, _, body = file.read_bytes().partition(b"\n")
    except OSError:
        return None, False
    whole = hashlib.sha256(body).hexdigest().encode() == digest
    return (body, False) if whole else (None, True)


def _keep(file: Path, body: bytes) -> str:
    """Writes an answer to the cache whole or not at all; what hinders it is a warning, since the answer is there."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file, (".answer",)) as temporary:
            temporary.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    except (OSError, GentrafficError) as error:
        return f"the answer is not kept in the cache ({' '.join(str(error).split())[:200]})"
    return ""
