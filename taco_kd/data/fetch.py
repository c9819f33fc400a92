"""One file over HTTP: resumed where it broke off, checked before it takes its name."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taco_kd.files import sha256_file, write_json

if TYPE_CHECKING:
    import httpx

LARGEST_FILE_BYTES = 200_000_000
LONGEST_WAIT_S = 60.0
_GONE_STATUS = frozenset({400, 401, 403, 404, 410, 451})  # asking again would not help
_PLACEHOLDER = "photo_unavailable"  # where Flickr sends requests for photos that were deleted


@dataclass(frozen=True)
class FetchOptions:
    """How patient a download is.

    Attributes:
        attempts: per address, before it is given up for this run.
        timeout_s: silence after which a connection counts as dead.
        file_s: time in which one attempt must end, however steadily a server drips.
        backoff_s: pause before the second attempt; doubled for each further one.
    """

    attempts: int = 5
    timeout_s: float = 20.0
    file_s: float = 300.0
    backoff_s: float = 1.0


@dataclass(frozen=True)
class Fetched:
    """A file that is there and was checked."""

    url: str
    size_bytes: int
    sha256: str
    attempts: int


class StoppedError(Exception):
    """The user or another worker wants everything to end; partial files stay for the next run."""


class _GoneError(Exception):
    """The address will not deliver, however often it is asked."""


class _AgainError(Exception):
    """This attempt failed; the next may not. ``wait_s`` is what the server asked for."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class _RestartError(_AgainError):
    """And what was fetched so far is of no use."""


class _UnfitError(_AgainError):
    """All of it came, and it is not what was wanted; asking once more is enough."""


def fetch(
    client: httpx.Client,
    urls: list[str],
    target: Path,
    *,
    check: Callable[[Path], str | None],
    options: FetchOptions,
    stop: threading.Event,
) -> Fetched | list[str]:
    """Fetch ``target`` from the first of ``urls`` that delivers it.

    What arrived of a broken attempt lies in ``<target>.part`` and is continued (HTTP Range, guarded by the
    server's validator) by the next attempt or the next run; without a validator it is fetched anew.

    Args:
        check: gives the reason why a complete file is not what was wanted, or None.

    Returns:
        The file, or a reason for each address that failed.

    Raises:
        StoppedError: ``stop`` was set.
        OSError: the file cannot be written.
    """
    reasons: list[str] = []
    tried = 0
    for url in urls:
        unfit = 0
        for attempt in range(options.attempts):
            tried += 1
            try:
                _one_attempt(client, url, target, check, options, stop)
                return Fetched(url, target.stat().st_size, sha256_file(target), tried)
            except _GoneError as error:
                reasons.append(f"{url}: {error}")
                break
            except _AgainError as error:
                if isinstance(error, _RestartError):
                    discard(target)
                unfit += isinstance(error, _UnfitError)
                if attempt + 1 == options.attempts or unfit == 2:
                    reasons.append(f"{url}: {error} ({attempt + 1} attempts)")
                    break
                wait = error.wait_s if error.wait_s is not None else options.backoff_s * 2**attempt
                if stop.wait(min(wait, LONGEST_WAIT_S)):
                    raise StoppedError from None
    return reasons


def _one_attempt(
    client: httpx.Client,
    url: str,
    target: Path,
    check: Callable[[Path], str | None],
    options: FetchOptions,
    stop: threading.Event,
) -> None:
    import httpx

    part, note = _beside(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.is_file() else 0
    validator = _validator_of(note, url) if have else None
    headers = {"Accept-Encoding": "identity"}
    if validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    try:
        with client.stream("GET", url, headers=headers, follow_redirects=True) as response:
            if _PLACEHOLDER in str(response.url):
                raise _GoneError("the photo was taken down")
            start = _start(response, have if validator else 0)
            if start == 0:
                discard(target)
                if found := response.headers.get("etag") or response.headers.get("last-modified"):
                    write_json(note, {"url": url, "validator": found})
            _receive(response, part, start, options, stop)
    except httpx.TimeoutException:
        raise _AgainError(f"no answer for {options.timeout_s:g} s") from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise _GoneError(f"not an address that can be fetched ({error})") from None
    except httpx.TooManyRedirects:
        raise _GoneError("redirected in circles") from None
    except httpx.HTTPError as error:
        raise _AgainError(str(error) or type(error).__name__) from None
    if (reason := check(part)) is not None:
        discard(target)
        raise _UnfitError(reason)
    part.replace(target)
    note.unlink(missing_ok=True)


def _start(response: httpx.Response, have: int) -> int:
    """The offset at which this answer begins.

    Raises:
        _GoneError, _AgainError: it is no answer to what was asked.
    """
    status = response.status_code
    if status == 206:
        given = response.headers.get("content-range", "")
        if have and given.startswith(f"bytes {have}-"):
            return have
        raise _AgainError(f"answered another range than was asked for ({given!r})")
    if status == 416:  # there is no more of it than we have: it is not the same file
        raise _RestartError("the file is shorter than the part that is here")
    if status in _GONE_STATUS:
        raise _GoneError(f"HTTP {status}")
    if status != 200:
        raise _AgainError(f"HTTP {status}", _retry_after(response))
    return 0


def _receive(
    response: httpx.Response, part: Path, start: int, options: FetchOptions, stop: threading.Event
) -> None:
    began = time.monotonic()
    length = response.headers.get("content-length", "")
    expected = (
        start + int(length) if length.isdigit() and not response.headers.get("content-encoding") else None
    )
    if expected is not None and expected > LARGEST_FILE_BYTES:
        raise _GoneError(f"{expected:,} bytes: no photo is so large")
    size = start
    with part.open("ab" if start else "wb") as stream:
        for block in response.iter_bytes():  # as it comes: a buffer would be lost with the connection
            if stop.is_set():
                raise StoppedError
            stream.write(block)
            size += len(block)
            if size > LARGEST_FILE_BYTES:
                raise _GoneError(f"more than {LARGEST_FILE_BYTES:,} bytes: no photo is so large")
            if time.monotonic() - began > options.file_s:
                raise _AgainError(f"not done after {options.file_s:g} s")
    if expected is not None and size != expected:
        raise _AgainError(f"{size:,} of {expected:,} bytes")


def discard(target: Path) -> None:
    """Throw away what is left of an attempt to fetch ``target``."""
    for file in _beside(target):
        file.unlink(missing_ok=True)


def _beside(target: Path) -> tuple[Path, Path]:
    return target.with_name(target.name + ".part"), target.with_name(target.name + ".part.json")


def _validator_of(note: Path, url: str) -> str | None:
    """What the server called the version that the partial file is of; weak ones may not guard a range."""
    try:
        said: Any = json.loads(note.read_text(encoding="utf-8"))
        validator = said["validator"] if said["url"] == url else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return validator if isinstance(validator, str) and not validator.startswith("W/") else None


def _retry_after(response: httpx.Response) -> float | None:
    said = response.headers.get("retry-after", "").strip()
    if said.isdigit():
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except ValueError:
        return None
