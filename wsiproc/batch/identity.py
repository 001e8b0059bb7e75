"""What a slide of a batch is called: not by its name, which may be a patient's.

An id is an HMAC of the slide's fingerprint under the site's key, so that nobody without the key
can tell whether a slide they have is among the results.  The key, and the list that leads from
ids back to files, stay with the user who runs batches::

    ~/.config/wsiproc/site.key          32 random bytes, hex; made on first use
    ~/.config/wsiproc/site.key.names    a line of JSON for each slide and change of it

The list also saves reading a slide twice for its fingerprint: what was read stands there beside
the sizes and times that the files had.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wsiproc.errors import ConfigError
from wsiproc.slide.arrival import Seen, Stamp
from wsiproc.store.disk import storing

DIGITS = 20
"""Hex digits of an id: 80 bits, so that two slides of one site never share one by chance."""
_KEY = re.compile(r"[0-9a-f]{64}\n?")


def default_key_file() -> Path:
    """Where a user's site key is kept."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "wsiproc" / "site.key"


def site_key(key_file: Path | None = None) -> bytes:
    """The site's key, made if there is none; of several first uses at once all get the same.

    Raises
    ------
    ConfigError
        If the file holds no key, or others than its owner may read it.
    StoreError
        If it cannot be made.
    """
    path = key_file or default_key_file()
    with storing("the site key"):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make_key(path)
        mode, text = path.stat().st_mode, path.read_text("utf-8", errors="replace")
    if mode & 0o077:
        raise ConfigError("others may read the site key: `chmod 600` it, or make a new one")
    if not _KEY.fullmatch(text):
        raise ConfigError("the site key is no key: 64 hex digits on one line; name another file")
    return bytes.fromhex(text.strip())


def _make_key(path: Path) -> None:
    mine = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(mine, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(mine, path)
    finally:
        mine.unlink()


def slide_id(key: bytes, fingerprint: str) -> str:
    """The id of a slide with this content."""
    return "s" + _hmac(key, fingerprint)


def unseen_id(key: bytes, slide: Path) -> str:
    """What a slide is called until its content is known: an HMAC of its absolute path."""
    return "u" + _hmac(key, str(slide.absolute()))


def _hmac(key: bytes, text: str) -> str:
    found = hmac.new(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256)
    return found.hexdigest()[:DIGITS]


@dataclass(frozen=True, slots=True)
class _Line:
    """A slide as it was once: its id, the digest of its stamp, and its fingerprint; the last two
    empty while nothing of it was read."""

    slide_id: str
    stamp: str
    fingerprint: str


class Names:
    """The list that leads from ids back to files.

    Several batches may add to it at once; each reads what the others added.

    Parameters
    ----------
    key_file
        The site key beside which the list lies; None for the default.
    """

    def __init__(self, key_file: Path | None = None) -> None:
        key = key_file or default_key_file()
        self._path = key.with_name(f"{key.name}.names")
        self._read = 0
        self._by_path: dict[str, _Line] = {}
        self._paths: dict[str, str] = {}

    def fingerprint(self, slide: Path, stamp: Stamp) -> str | None:
        """The fingerprint of a slide, if it was read when its files had this very stamp."""
        line = self._line(slide)
        return line.fingerprint if line is not None and line.stamp == stamp.digest else None

    def id_of(self, slide: Path) -> str | None:
        """The id that a file had when it was last read; None if it never was."""
        line = self._line(slide)
        return line.slide_id if line is not None and line.fingerprint else None

    def remember(self, slide: Path, slide_id: str, seen: Seen | None = None) -> None:
        """Add what a slide is called, and what was read of it if anything was.

        Raises
        ------
        DiskFullError, StoreError
            If it cannot be written.
        """
        place = str(slide.absolute())
        stamp, fingerprint = (seen.stamp.digest, seen.fingerprint) if seen else ("", "")
        if self._line(slide) == _Line(slide_id, stamp, fingerprint):
            return
        facts = {"id": slide_id, "path": place, "stamp": stamp, "fingerprint": fingerprint}
        text = json.dumps(facts) + "\n"
        with storing("the list of slides beside the site key"):
            handle = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
            try:
                # Where locks are unknown, lines of one write each still do not mix.
                with suppress(OSError):
                    fcntl.flock(handle, fcntl.LOCK_EX)
                end = os.lseek(handle, 0, os.SEEK_END)
                torn = end > 0 and os.pread(handle, 1, end - 1) != b"\n"
                os.write(handle, (b"\n" if torn else b"") + text.encode())
                os.fsync(handle)
            finally:
                os.close(handle)

    def all(self) -> dict[str, Path]:
        """Every id with the file that last had it."""
        self._catch_up()
        return {slide_id: Path(path) for slide_id, path in self._paths.items()}

    def _line(self, slide: Path) -> _Line | None:
        self._catch_up()
        return self._by_path.get(str(slide.absolute()))

    def _catch_up(self) -> None:
        """Read what was added since the last time; lines that are torn are left out."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, os.SEEK_END) <= self._read:
                    return
                file.seek(self._read)
                whole = file.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigError(f"the list beside the site key: {error.strerror}") from None
        self._read += len(whole) + 1 if whole else 0
        for text in whole.splitlines():
            with suppress(ValueError, KeyError, TypeError):
                facts = json.loads(text)
                line = _Line(facts["id"], facts["stamp"], facts["fingerprint"])
                self._by_path[facts["path"]] = line
                self._paths[facts["id"]] = facts["path"]


def names(key_file: Path | None = None) -> dict[str, Path]:
    """Every slide id that this site knows, with the file that last had it."""
    return Names(key_file).all()
