"""Opening a slide with the backend that reads it best."""

from __future__ import annotations

from pathlib import Path

from wsiproc.errors import ConfigError, MissingExtraError, SlideFormatError, WsiprocError
from wsiproc.slide._agree import agree
from wsiproc.slide._dicom import series_uid
from wsiproc.slide._ifds import check_tiff, is_tiff
from wsiproc.slide._image import ImageSource
from wsiproc.slide._openslide import OpenSlideSource
from wsiproc.slide._tiatoolbox import TiatoolboxSource
from wsiproc.slide._tiff import open_tiff
from wsiproc.slide.facts import Slide, check_header, settle
from wsiproc.slide.mosaic import Mosaic, Source

BACKENDS = ("openslide", "tiff", "image", "tiatoolbox")

JP2 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")


def open_slide(path: Path, *, mpp: float | None = None, backend: str | None = None) -> Slide:
    """Open a slide.

    Parameters
    ----------
    path
        Its file; of a slide in several files the one that OpenSlide takes (any of a DICOM
        series); or a folder that holds one DICOM series, or is an OME-Zarr image.
    mpp
        µm per level-0 px, in place of what the file says.
    backend
        ``openslide``, ``tiff``, ``image`` or ``tiatoolbox``; None takes the one that reads the
        slide best: native tiles where sample tiles are OpenSlide's pixels, then OpenSlide, then
        the others in this order.  Naming what `SlideFacts.backend` says opens the same slide
        again, without the check.

    Raises
    ------
    SlideFormatError
        If no backend reads it, with what each said; or if it is cut short.
    SlideResolutionError
        If its mpp is missing or absurd, and none was given.
    MissingExtraError
        If it is of a kind that only TIAToolbox reads, and that is not installed.
    ConfigError
        If the mpp given is absurd, or there is no such backend.
    """
    if backend is not None and backend not in BACKENDS:
        raise ConfigError(f"there is no backend {backend!r}; there are {', '.join(BACKENDS)}")
    try:
        if not path.exists():
            raise SlideFormatError("there is no file at the path given")
        path = _file_of(path)
        if path.is_file() and is_tiff(path):
            check_tiff(path)
        source = _best(path) if backend is None else _with(backend, path)
    except WsiprocError:
        raise
    except OSError as error:
        raise SlideFormatError(f"the file cannot be read: {error.strerror}") from None
    try:
        check_header(source.header)
        return Mosaic(source, settle(source.header, mpp))
    except BaseException:
        source.close()
        raise


def _file_of(path: Path) -> Path:
    """For a folder with a DICOM series one of its files; else the path as it is."""
    if not path.is_dir():
        return path
    files = sorted(path.glob("*.dcm"))
    if len({series_uid(file) for file in files}) > 1:
        raise SlideFormatError(
            "the folder holds more than one DICOM series; give a file of the one that is meant"
        )
    return files[0] if files else path


def _with(backend: str, path: Path) -> Source:
    if backend == "tiff":
        said: list[str] = []
        reference = _openslide(path, said)
        if reference is None:
            return open_tiff(path)
        reference.close()
        return open_tiff(path, reference.header)
    if backend == "openslide":
        return OpenSlideSource(path)
    return ImageSource(path) if backend == "image" else TiatoolboxSource(path)


def _best(path: Path) -> Source:
    said: list[str] = []
    if path.is_file():
        reference = _openslide(path, said)
        native = _native(path, reference, said) if is_tiff(path) else None
        if native is not None:
            if reference is not None:
                reference.close()
            return native
        if reference is not None:
            return reference
        try:
            return ImageSource(path)
        except SlideFormatError as error:
            said.append(f"as a plain image: {error}")
    if path.is_dir() or _starts_with(path, JP2):
        return TiatoolboxSource(path)
    try:
        return TiatoolboxSource(path)
    except (SlideFormatError, MissingExtraError) as error:
        installed = not isinstance(error, MissingExtraError)
        said.append(f"TIAToolbox: {error if installed else 'not installed'}")
    raise SlideFormatError(
        f"no part of wsiproc reads this file ({'; '.join(said)}); if it is still being copied, "
        "run again when it is complete"
    )


def _openslide(path: Path, said: list[str]) -> OpenSlideSource | None:
    try:
        return OpenSlideSource(path)
    except SlideFormatError as error:
        said.append(f"OpenSlide: {error}")
        return None


def _native(path: Path, reference: OpenSlideSource | None, said: list[str]) -> Source | None:
    """The slide's own tiles, if they are to be had and OpenSlide has nothing against them."""
    try:
        native = open_tiff(path, None if reference is None else reference.header)
    except SlideFormatError as error:
        said.append(f"as a tiled TIFF: {error}")
        return None
    if reference is not None and not agree(native, reference):
        native.close()
        return None
    return native


def _starts_with(path: Path, heads: tuple[bytes, ...]) -> bool:
    with path.open("rb") as file:
        return file.read(16).startswith(heads)
