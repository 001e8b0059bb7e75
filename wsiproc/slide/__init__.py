"""Slides: their pixels, and the little that is known of them."""

from wsiproc.slide.facts import Level, Slide, SlideFacts, describe
from wsiproc.slide.fingerprint import fingerprint
from wsiproc.slide.opening import open_slide
from wsiproc.slide.thumbnail import Thumbnail, thumbnail
from wsiproc.slide.view import View, read_view, view_at

__all__ = [
    "Level",
    "Slide",
    "SlideFacts",
    "Thumbnail",
    "View",
    "describe",
    "fingerprint",
    "open_slide",
    "read_view",
    "thumbnail",
    "view_at",
]
