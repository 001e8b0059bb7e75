"""Files made to do harm are refused at once, with little memory, and as errors of their slide."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

SECONDS, MEGABYTES = 5.0, 1000.0
LONG, LONG8, ASCII, BYTE = 4, 16, 2, 1

OPEN_ALL = """
import json, sys, time
from pathlib import Path
from wsiproc.geometry import Box
from wsiproc.slide import open_slide
for path in sys.argv[1:]:
    began = time.monotonic()
    try:
        with open_slide(Path(path), mpp=0.25 if path.endswith("given") else None) as slide:
            for number, level in enumerate(slide.facts.levels):
                slide.read(number, level.box & Box(0, 0, 300, 300))
        fate = "read"
    except Exception as error:
        fate = type(error).__name__
        said = str(error)
    else:
        said = ""
    # Not what rusage says: that begins with the peak of whoever started this process.
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    peak = int(status["VmHWM"].split()[0]) / 1024
    print(json.dumps([fate, said, time.monotonic() - began, peak]), flush=True)
"""


def directory(*tags: tuple[int, int, int, int], following: int = 0) -> bytes:
    """A classic TIFF directory of (tag, type, count, value)."""
    body = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return struct.pack("<H", len(tags)) + body + struct.pack("<I", following)


def tiff(*tags: tuple[int, int, int, int]) -> bytes:
    return b"II*\0" + struct.pack("<I", 8) + directory(*tags)


def rgb(width: int, height: int, tile: int) -> list[tuple[int, int, int, int]]:
    """Tags of a tiled RGB image whose tables of tiles are one entry long."""
    return [
        (256, LONG, 1, width),
        (257, LONG, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, 7),
        (262, 3, 1, 2),
        (277, 3, 1, 3),
        (322, LONG, 1, tile),
        (323, LONG, 1, tile),
        (324, LONG, 1, 8),
        (325, LONG, 1, 8),
    ]


def kilobyte_of_100_gigapixels(path: Path) -> None:
    path.write_bytes(tiff(*rgb(400_000, 250_000, 4096)).ljust(1024, b"\0"))


def kilobyte_of_100_gigapixels_in_one_strip(path: Path) -> None:
    tags = [tag for tag in rgb(400_000, 250_000, 0) if tag[0] < 300]
    strip = [(273, LONG, 1, 8), (278, LONG, 1, 250_000), (279, LONG, 1, 64)]
    path.write_bytes(tiff(*tags, *strip).ljust(1024, b"\0"))


def kilobyte_of_2_to_the_62_pixels(path: Path) -> None:
    tags = [(256, LONG8, 1, 1 << 31), (257, LONG8, 1, 1 << 31), (322, LONG8, 1, 256)]
    body = struct.pack("<Q", len(tags)) + b"".join(struct.pack("<HHQQ", *t) for t in tags)
    head = b"II+\0" + struct.pack("<HHQ", 8, 0, 16)
    path.write_bytes((head + body + bytes(8)).ljust(1024, b"\0"))


def directories_in_a_loop(path: Path) -> None:
    one = directory(*rgb(512, 512, 256), following=8 + 2 + 12 * 10 + 4)
    two = directory(*rgb(512, 512, 256), following=8)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + one + two)


def tag_of_4_gigabytes(path: Path) -> None:
    path.write_bytes(tiff(*rgb(512, 512, 256), (34675, BYTE, 0xFFFFFFFF, 300)))


def tag_of_3_gigabytes_that_are_there(path: Path) -> None:
    tag_of_4_gigabytes(path)
    data = path.read_bytes().replace(b"\xff\xff\xff\xff", struct.pack("<I", 3 << 30))
    with path.open("wb") as file:
        file.write(data)
        file.truncate(4 << 30)  # a hole: nothing is stored


def tag_of_4_gigabytes_of_an_ndpi(path: Path) -> None:
    path.write_bytes(
        tiff(*rgb(512, 512, 256), (34675, BYTE, 0xFFFFFFFF, 300), (65420, LONG, 1, 1)) + bytes(64)
    )


def one_large_tag_in_every_directory(path: Path) -> None:
    tags = [*rgb(512, 512, 256), (34675, BYTE, 60 << 20, 1 << 20)]
    size = 2 + 12 * len(tags) + 4
    with path.open("wb") as file:
        file.write(b"II*\0" + struct.pack("<I", 8))
        for n in range(4000):
            file.write(directory(*tags, following=8 + (n + 1) * size if n < 3999 else 0))
        file.truncate(64 << 20)


def tags_without_end(path: Path) -> None:
    """Directories of 4096 tags each that lie over one another."""
    count = struct.pack("<H", 4096)
    data = bytearray(b"II*\0" + struct.pack("<I", 8) + count * 120_000)
    for n in range(2000):
        end = 8 + 2 * n + 2 + 12 * 4096
        data[end : end + 4] = struct.pack("<I", 8 + 2 * (n + 1))
    path.write_bytes(data)


def tile_that_grows_to_4_gigabytes(path: Path) -> None:
    pixels = np.zeros((256, 256, 3), np.uint8)
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", compression="zstd")
    bomb = imagecodecs.zstd_encode(bytes(1 << 28)) * 16
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags
        where = [(tags[n].valueoffset, tags[n].dtype) for n in (324, 325)]
    at = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bomb)
        for (place, _), value in zip(where, (at, len(bomb)), strict=True):
            file.seek(place)
            file.write(struct.pack("<I", value))


def jpeg_tile_of_65535_squared(path: Path) -> None:
    pixels = np.zeros((256, 256, 3), np.uint8)
    tifffile.imwrite(
        path, pixels, tile=(256, 256), photometric="rgb", compression="jpeg", resolution=(4e4, 4e4)
    )
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    path.write_bytes(data)


def ome_description_that_no_pattern_ends_on(path: Path) -> None:
    text = "<OME><Image>" + "<Pixels " * 200_000 + "</OME>"
    tifffile.imwrite(
        path,
        np.zeros((256, 256, 3), np.uint8),
        tile=(256, 256),
        photometric="rgb",
        compression="jpeg",
        description=text,
        metadata=None,
    )


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def png_of_4_gigapixels(path: Path) -> None:
    path.write_bytes(png(65_000, 65_000, chunk(b"IDAT", zlib.compress(bytes(100_000)))))


def png_with_a_text_of_a_gigabyte(path: Path) -> None:
    bomb = zlib.compressobj(9)
    text = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(1024)) + bomb.flush()
    path.write_bytes(png(16, 16, chunk(b"zTXt", b"Comment\0\0" + text)))


def dicom_of_empty_elements(path: Path) -> None:
    with path.open("wb") as file:
        file.write(bytes(128) + b"DICM")
        file.truncate(2 << 30)


def slide_as_large_as_a_table(path: Path) -> None:
    tifffile.imwrite(
        path,
        shape=(65_536, 65_536, 3),
        dtype=np.uint8,
        data=iter([imagecodecs.jpeg8_encode(np.zeros((512, 512, 3), np.uint8))] * 16_384),
        tile=(512, 512),
        photometric="rgb",
        compression="jpeg",
        resolution=(2500, 2500),
        resolutionunit="CENTIMETER",
    )


HOSTILE = {
    kilobyte_of_100_gigapixels: ("tif", "SlideFormatError"),
    kilobyte_of_100_gigapixels_in_one_strip: ("tif", "SlideFormatError"),
    kilobyte_of_2_to_the_62_pixels: ("tif", "SlideFormatError"),
    directories_in_a_loop: ("tif", "SlideFormatError"),
    tag_of_4_gigabytes: ("tif", "SlideFormatError"),
    tag_of_3_gigabytes_that_are_there: ("tif", "SlideFormatError"),
    tag_of_4_gigabytes_of_an_ndpi: ("ndpi", "SlideFormatError"),
    one_large_tag_in_every_directory: ("tif", "SlideFormatError"),
    tags_without_end: ("tif", "SlideFormatError"),
    # OpenSlide stops where the tile is full.
    tile_that_grows_to_4_gigabytes: ("given", "read"),
    jpeg_tile_of_65535_squared: ("given", "SlideReadError"),
    ome_description_that_no_pattern_ends_on: ("tif", "SlideResolutionError"),
    png_of_4_gigapixels: ("given", "SlideFormatError"),
    png_with_a_text_of_a_gigabyte: ("given", "SlideFormatError"),
    dicom_of_empty_elements: ("dcm", "SlideFormatError"),
    slide_as_large_as_a_table: ("tif", "SlideResolutionError"),
}


@pytest.fixture(scope="module")
def fates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str, float, float]]:
    """What became of each file in one process: error, message, seconds, MB held at most."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = []
    for make, (suffix, _) in HOSTILE.items():
        paths.append(folder / f"{make.__name__}.{suffix}")
        make(paths[-1])
    ended = subprocess.run(
        [sys.executable, "-c", OPEN_ALL, *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    lines = ended.stdout.splitlines()
    assert len(lines) == len(paths), f"{paths[len(lines)].name} ended the process: {ended.stderr}"
    return {path.stem: tuple(json.loads(line)) for path, line in zip(paths, lines, strict=True)}


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_a_hostile_file_is_done_with_soon_and_in_little_memory(fates, make) -> None:
    fate, said, seconds, megabytes = fates[make.__name__]
    assert fate == HOSTILE[make][1], said
    assert seconds < SECONDS
    assert megabytes < MEGABYTES
