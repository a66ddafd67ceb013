"""Downloaded weights: where they are kept, and how they get there. Nothing heavy is imported with this module.

Every download lands in one cache folder, is resumed where it broke off, and is checked before it gets its name. A
mirror can stand in for the publishers, and in offline mode no connection is opened at all.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from facecrypt.errors import WeightsError
from facecrypt.system import console
from facecrypt.system.naming import expand_home
from facecrypt.system.regular import digest_regular, read_text
from facecrypt.system.texts import plain

if TYPE_CHECKING:
    import requests

CACHE: Final = "FACECRYPT_CACHE"
MIRROR: Final = "FACECRYPT_MIRROR"
OFFLINE: Final = "FACECRYPT_OFFLINE"

_CONNECT_TIMEOUT: Final = 10.0  # seconds until a server that does not take the connection counts as unreachable
_READ_TIMEOUT: Final = 30.0  # seconds of silence until a connection counts as broken
_HUB_TIMEOUT: Final = 5.0  # seconds until a silent hub counts as unreachable
_ATTEMPTS: Final = 5  # connections per download, as long as each one brings the file forward
_MOST_RECORD: Final = 1 << 16
_CHUNK: Final = 1 << 16  # bytes written at once; of one that breaks off nothing is kept
_MOST_BYTES: Final = 4 << 30  # of a file whose publisher states no size: twice the largest recogniser
_PAGES: Final = (b"<!doctype", b"<html", b"<?xml")  # what pages begin with, whatever content type a server calls them


def cache_folder() -> Path:
    """Return the folder of everything that facecrypt downloads.

    It is the one that the environment variable FACECRYPT_CACHE names, else ``facecrypt`` in ``$XDG_CACHE_HOME``, else
    in ``~/.cache``. It need not exist yet.
    """
    named = os.environ.get(CACHE)
    if named:
        return expand_home(named)
    return expand_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "facecrypt"


def offline() -> bool:
    """Return whether downloads are forbidden: whether FACECRYPT_OFFLINE is set to anything but 0, no or false."""
    return os.environ.get(OFFLINE, "").strip().lower() not in ("", "0", "no", "false", "off")


def mirror() -> str:
    """Return the address that stands in for the publishers, without a slash at its end; empty without a mirror."""
    return os.environ.get(MIRROR, "").strip().rstrip("/")


def digest(path: Path) -> str:
    """Return the sha256 of a file, 64 hexadecimal digits.

    Raises:
        WeightsError: If the file cannot be read.
    """
    try:
        return digest_regular(path)
    except OSError as error:
        raise WeightsError(
            f"weights {path}: cannot be read ({error.strerror}). Check the path and its permissions."
        ) from error


def record_of(path: Path) -> Path:
    """Return where the digest of a file is recorded whose publisher states none, in the format of ``sha256sum``."""
    return path.with_name(f"{path.name}.sha256")


def recorded(path: Path) -> str:
    """Return the recorded digest of a file, or nothing."""
    try:
        return read_text(record_of(path), _MOST_RECORD).partition(" ")[0].strip()
    except (OSError, UnicodeDecodeError):
        return ""


def check(path: Path, sha256: str = "", size: int = 0, *, name: str = "") -> None:
    """Check a file by its size and its digest, the stated or else the recorded one. Without any, record what it is now.

    Args:
        path: The file.
        sha256: Digest that its publisher states, or empty.
        size: Size that its publisher states, in bytes, or 0.
        name: Name under which its digest is recorded, and which errors call it by, where `path` has another one.

    Raises:
        WeightsError: If the file cannot be read or is another one.
    """
    shown = path.with_name(name) if name else path
    has = path.stat().st_size if path.is_file() else 0
    # A digest tells of everything but files that are too large to be read for it.
    if size and (has > size or (has < size and not sha256)):
        raise WeightsError(
            f"weights {shown}: has {has:,} bytes, expected {size:,}: the file is cut short or another "
            "one. Delete it and install or download it again."
        )
    actual, before = digest(path), recorded(shown)
    if actual == (sha256 or before or actual):
        if not sha256 and not before:
            with suppress(OSError):  # A shared cache that only its owner may write to can hold no record.
                _write(record_of(shown), f"{actual}  {shown.name}\n")
        return
    if sha256:
        raise WeightsError(
            f"weights {shown}: sha256 is {actual[:12]}..., expected {sha256[:12]}...: the file is corrupt or another "
            "version. Delete it and install or download it again."
        )
    raise WeightsError(
        f"weights {shown}: sha256 is {actual[:12]}..., but was {before[:12]}... when it was first downloaded: the file "
        "is corrupt or another version. Delete it and download it again; where its publisher replaced it and you trust "
        f"the new one, delete {record_of(shown)} too."
    )


def fetch(address: str, name: str, sha256: str = "", size: int = 0, *, command: str) -> Path:
    """Return a checked file of the cache, downloaded where it is not there yet.

    Processes that want the same file at the same time download it once. A download that breaks off is taken up again,
    by this call or a later one, from a ``.part`` file; the file has its own name only when it is complete and right.

    Args:
        address: Where its publisher has it.
        name: Its name in the cache and on a mirror.
        sha256: Digest that its publisher states, or empty.
        size: Size that its publisher states, in bytes, or 0. No more than that is received, whatever the server sends;
            of a file without a stated size, 4 GiB.
        command: What fetches the file where there is a connection, for the error in offline mode.

    Raises:
        WeightsError: If the file cannot be downloaded or kept, or is another one.
    """
    path = cache_folder() / name
    if not path.is_file():
        if offline():
            raise not_here(name, path.parent, command)
        if mirror():
            address = f"{mirror()}/{name}"
        with _disk(name, path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with _alone(path):
                if not path.is_file():  # Another process may have brought it in the meantime.
                    _download(address, path, sha256, size)
                    return path
    check(path, sha256, size)
    return path


def not_here(name: str, folder: Path, command: str) -> WeightsError:
    """Return the error for a file that offline mode forbids to download."""
    return WeightsError(
        f"weights {name}: not in the cache ({folder}), and offline mode forbids to download it. "
        f"Where there is a connection, run: {command}."
    )


def hub_cache() -> Path:
    """Return the folder in which huggingface_hub keeps what comes from the hub."""
    return cache_folder() / "hub"


def find_on_hub(repository: str, names: Sequence[str]) -> Path | None:
    """Return the folder in the cache with these files of a hub repository, or None unless all are there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [try_to_load_from_cache(repository, name, cache_dir=hub_cache()) for name in names]
    except HFValidationError:  # No repository can have that name.
        return None
    paths = [Path(path) for path in found if isinstance(path, str)]
    return paths[0].parent if len(paths) == len(names) else None


@contextmanager
def bounded_files(most: int = 0) -> Iterator[None]:
    """Let no file that is written in this context grow beyond some bytes, whoever writes it.

    Other packages download without asking how much will come. Where the system knows no such limit, there is none.

    Args:
        most: The limit in bytes; 4 GiB by default.
    """
    try:
        import resource
    except ImportError:  # Windows has none.
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limits = [limit for limit in (most or _MOST_BYTES, soft) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fetch_from_hub(repository: str, names: Sequence[str], size: int = 0, *, command: str) -> Path:
    """Return the folder in the cache with these files of a hub repository, downloaded where one is missing.

    Args:
        repository: ``owner/name``.
        names: The files; those that the repository does not have are not an error here.
        size: Size of the largest file, in bytes, or 0 where it is not known. None may be larger than that, or 4 GiB.
        command: What fetches them where there is a connection, for the error in offline mode.

    Raises:
        WeightsError: If they cannot be downloaded.
    """
    folder = find_on_hub(repository, names)
    if folder is not None:
        return folder
    if offline():
        raise not_here(repository, hub_cache(), command)
    from huggingface_hub import HfApi, snapshot_download

    endpoint = mirror() or None
    try:
        # Asked once first: the download would wait for ever on a hub that takes the connection and stays silent.
        HfApi(endpoint=endpoint).model_info(repository, timeout=_HUB_TIMEOUT)
        with bounded_files(size):
            return Path(
                snapshot_download(
                    repository,
                    allow_patterns=list(names),
                    cache_dir=hub_cache(),
                    endpoint=endpoint,
                    etag_timeout=_HUB_TIMEOUT,
                )
            )
    except Exception as error:  # the hub's client lets through what its HTTP library raises
        for part in (hub_cache() / f"models--{repository.replace('/', '--')}").rglob("*.incomplete"):
            if part.stat().st_size >= (size or _MOST_BYTES):  # Taken up again, it would be too large for ever.
                part.unlink()
        where = f"the mirror {endpoint}" if endpoint else "the Hugging Face hub"
        raise WeightsError(
            f"weights {repository}: cannot be downloaded from {where} ({_line(error)}). "
            f"Try again later, or name another hub in {MIRROR}."
        ) from error


def _download(address: str, path: Path, sha256: str, size: int) -> None:
    """Bring a file into the cache; the caller holds its lock and has a place for errors of the disk."""
    import requests

    part = path.with_name(f"{path.name}.part")
    for attempt in range(1, _ATTEMPTS + 1):
        before = _size(part)
        try:
            complete = _receive(address, part, sha256, size)
        except requests.RequestException as error:
            if _size(part) > before and attempt < _ATTEMPTS:
                continue
            raise _explain(error, address, path, _size(part)) from error
        if complete:
            break
    else:
        raise WeightsError(
            f"weights {path.name}: {address} sent {_size(part)} bytes and not the rest. "
            f"Try again: the download goes on from there. Or name a mirror in {MIRROR}."
        )
    _etag(part).unlink(missing_ok=True)
    try:
        check(part, sha256, size, name=path.name)
    except WeightsError:
        actual = digest(part)
        part.unlink()
        expected, source = (sha256, "its publisher states") if sha256 else (recorded(path), "it had at first")
        raise WeightsError(
            f"weights {path.name}: what {address} sends has sha256 {actual[:12]}..., not the {expected[:12]}... that "
            f"{source}: refused and removed. Try again, or name another source in {MIRROR}"
            + ("." if sha256 else f"; where you trust the new file, delete {record_of(path)} first.")
        ) from None
    part.replace(path)


def _receive(address: str, part: Path, sha256: str, size: int) -> bool:
    """Receive a file, or the rest of it, and return whether it is complete now.

    What is there already is kept only where a digest or the server's own mark of the version (ETag) will show whether
    the rest belongs to it.
    """
    import requests

    etag = _etag(part)
    version = read_text(etag, _MOST_RECORD) if etag.is_file() else ""
    have = _size(part) if sha256 or version else 0
    headers = {"Accept-Encoding": "identity"}  # Compressed on the way, a range would be one of other bytes.
    if have:
        headers["Range"] = f"bytes={have}-"
        if version:
            headers["If-Range"] = version
    with requests.get(address, headers=headers, stream=True, timeout=(_CONNECT_TIMEOUT, _READ_TIMEOUT)) as response:
        span = response.headers.get("Content-Range", "")
        if response.status_code == 416:  # Nothing follows: all of it is there, or it is no part of this file.
            if span == f"bytes */{have}":
                return True
            part.unlink()
            return False
        response.raise_for_status()
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise _unexpected("a web page, not a file", address, part)
        if not sha256 and address.startswith("https:") and not response.url.startswith("https:"):
            raise _unexpected("you on to an address without encryption, and no digest is known", address, part)
        if response.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
            raise _unexpected("it compressed, although it was asked not to", address, part)
        resumed = response.status_code == 206 and span.startswith(f"bytes {have}-")
        if response.status_code == 206 and not resumed:
            raise _unexpected(f"another part of the file than was asked for ({span})", address, part)
        if not resumed:
            have = 0
            sent = response.headers.get("ETag", "")
            with part.open("wb"):
                pass  # Emptied before the new mark is there: it must never stand beside bytes of the old version.
            # A weak mark stands for the same meaning, not for the same bytes.
            _write(etag, "" if sent.startswith("W/") else sent)
        announced = response.headers.get("Content-Length", "")
        rest = int(announced) if announced.isdecimal() else 0
        if size and rest and have + rest != size:
            raise _unexpected(f"a file of {have + rest:,} bytes, not of the {size:,} that are expected", address, part)
        bound = size or _MOST_BYTES
        if have + rest > bound:
            raise _unexpected(f"a file of {have + rest:,} bytes, of which at most {bound:,} are taken", address, part)
        with part.open("ab") as file, _progress(part.stem, have, rest) as advance:
            received = have
            for chunk in response.iter_content(_CHUNK):
                if not received and chunk.lstrip(b"\xef\xbb\xbf \t\r\n")[:16].lower().startswith(_PAGES):
                    raise _unexpected("a web page, not a file", address, part)
                received += len(chunk)
                if received > bound:
                    file.close()
                    part.unlink()
                    raise _unexpected(f"more than the {bound:,} bytes that are expected", address, part)
                file.write(chunk)
                advance(len(chunk))
    if not _size(part):
        raise _unexpected("an empty file", address, part)
    return _size(part) == (size or have + rest) if size or rest else True


def _unexpected(what: str, address: str, part: Path) -> WeightsError:
    return WeightsError(
        f"weights {part.stem}: {address} sends {what}. Open the address in a browser to see why, name a mirror in "
        f"{MIRROR}, or put the file at {part.with_suffix('')} yourself."
    )


def _explain(error: requests.RequestException, address: str, path: Path, have: int) -> WeightsError:
    """Return the one line for what went wrong on the way."""
    import requests
    from urllib3.exceptions import ReadTimeoutError

    otherwise = f"name a mirror in {MIRROR}, or put the file at {path} yourself."
    again = f"Try again{': the download goes on where it stopped' if have else ' later'}, {otherwise}"
    inner = error.args[0] if error.args else None
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        if status >= 500:
            what, remedy = f"{address} answers {status}, a fault of the server", again
        else:
            reason = "there is no such file" if status in (404, 410) else "the server refuses it"
            what, remedy = f"{address} answers {status}: {reason}", f"{otherwise[0].upper()}{otherwise[1:]}"
    elif isinstance(error, requests.exceptions.ConnectTimeout):
        what, remedy = f"{address} does not take a connection within {_CONNECT_TIMEOUT:g} s", again
    elif isinstance(error, requests.Timeout) or isinstance(inner, ReadTimeoutError):
        what, remedy = f"{address} has been silent for {_READ_TIMEOUT:g} s", again
    elif isinstance(error, ValueError):
        what, remedy = f"{address!r} is no web address", f"Mend {MIRROR}: it looks like https://server/folder."
    elif isinstance(error, requests.ConnectionError):
        what, remedy = f"{address} cannot be reached ({_innermost(error)})", again
    else:
        what, remedy = f"{address} breaks off ({_innermost(error)})", again
    return WeightsError(f"weights {path.name}: {what}. {remedy}")


@contextmanager
def _disk(name: str, folder: Path) -> Iterator[None]:
    """Turn a fault of the disk into the one line that says so."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            what, remedy = "the disk is full", "Make room"
        else:
            what, remedy = f"cannot be written to ({error.strerror})", "Mend its permissions"
        raise WeightsError(
            f"weights {name}: cache folder {folder}: {what}. {remedy}, or name another folder in {CACHE}."
        ) from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process at a time download a file."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.say(f"facecrypt: another process downloads {path.name}: waiting for it", error=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _progress(name: str, have: int, rest: int) -> Iterator[Callable[[int], None]]:
    """Show how a download goes, on a terminal only; gives what is called with the number of bytes of each chunk."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with console.make_progress(*columns, TimeRemainingColumn()) as progress:
        task = progress.add_task(plain(name), total=have + rest if rest else None, completed=have)
        yield lambda count: progress.advance(task, count)


def _etag(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _write(path: Path, text: str) -> None:
    """Write a small file in one go, so that no reader sees half of it."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def _innermost(error: BaseException) -> str:
    """Return the first cause of an error: what the system said, below the layers of the HTTP client."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return _line(error)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
