"""A page that the program writes, read as browsers read it."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "line", "rect"}


class Read(HTMLParser):
    """A page as a browser takes it: its text, its tags; every tag closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID or self.open[-1:] == ["svg"]:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def pictures(self) -> list[bytes]:
        sources = [attributes["src"] or "" for tag, attributes in self.tags if tag == "img"]
        return [base64.b64decode(s.partition(";base64,")[2]) for s in sources]
