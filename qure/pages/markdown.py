"""A page in Markdown: the verdict first, then facts, links, tables and pictures; and the same as lines of a log."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qure.evaluation import markdown
from qure.files import atomic_file

logger = logging.getLogger(__name__)

#: Characters of Markdown that Kubeflow Pipelines shows; it cuts what is longer, in the middle of a picture too.
LONGEST = 400_000
#: Lines of a log that a page is told in, besides its links.
MOST_LINES = 7
#: Characters of one value; a caption can be any text.
LONGEST_CODE = 200

#: What must stand in backticks: a name with an underscore, which is emphasis otherwise.
_NAME = re.compile(r"`[^`]*`|(?<![\w/])[\w./+-]*_[\w./+@-]*\w|(?<!\w)_\w+")
_MARKS = str.maketrans({"*": r"\*", "<": "&lt;", "[": r"\[", "]": r"\]", "|": "¦"})


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture inside the page.

    Attributes:
        shows: what it shows, for those who cannot see it.
        uri: `data:` URI.
    """

    shows: str
    uri: str


#: A paragraph, a table, or pictures side by side.
Part = str | Sequence[Picture]


@dataclass
class Page:
    """One step's page.

    Attributes:
        title: what it is about.
        verdict: how it ended, in a sentence or two.
        facts: (name, value); the first ones go into the log too.
        links: (what, address) of places where more is found.
        parts: what follows, in order.
    """

    title: str
    verdict: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    links: Sequence[tuple[str, str]] = ()
    parts: list[Part] = field(default_factory=list)

    def section(self, heading: str, *parts: Part) -> None:
        """Adds a heading with what stands under it; nothing where there is nothing."""
        if parts:
            self.parts += [f"## {prose(heading)}", *parts]

    def markdown(self) -> str:
        """The whole page. Pictures that would make it too long are left out, and counted."""
        blocks = [f"# {prose(self.title)}", f"**{prose(self.verdict)}**"]
        if self.facts:
            blocks.append("\n".join(f"- {prose(name)}: {prose(value)}" for name, value in self.facts))
        if self.links:
            blocks.append(", ".join(f"[{prose(what)}]({address})" for what, address in self.links))
        spent = sum(map(len, blocks)) + sum(len(part) for part in self.parts if isinstance(part, str)) + 1000
        left_out = 0
        for part in self.parts:
            if isinstance(part, str):
                blocks.append(part)
                continue
            shown = []
            for picture in part:
                text = f"![{prose(picture.shows)}]({picture.uri})"
                if spent + len(text) > LONGEST:
                    left_out += 1
                    continue
                spent += len(text) + 1
                shown.append(text)
            blocks.append(" ".join(shown))
        if left_out:
            blocks.append(f"{left_out} more pictures would not fit into this page.")
        return "\n\n".join(block for block in blocks if block) + "\n"

    def lines(self) -> list[str]:
        """The page in a few lines without marks."""
        lines = [f"{self.title}: {self.verdict}", *(f"{name}: {value}" for name, value in self.facts)]
        return [*lines[:MOST_LINES], *(f"{what}: {address}" for what, address in self.links)]

    def write(self, path: Path | str, *, links: Sequence[tuple[str, str]] = ()) -> None:
        """Writes the page, whole or not at all, and tells its lines to the log.

        Args:
            path: file to write.
            links: (what, address) of places where more is found.
        """
        self.links = [*self.links, *links]
        with atomic_file(Path(path)) as temporary:
            temporary.write_text(self.markdown(), encoding="utf-8", errors="backslashreplace")
        for line in self.lines():
            logger.info("%s", line)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    return "\n".join(markdown.table(head, rows))


def prose(text: str) -> str:
    """A sentence of ours: names in backticks, nothing else taken for a mark.

    >>> prose("recall_at_10 is 52.6 [51.0, 54.2] in `a_b`")
    '`recall_at_10` is 52.6 \\\\[51.0, 54.2\\\\] in `a_b`'
    """
    parts, end = [], 0
    for found in _NAME.finditer(text):
        parts += [text[end : found.start()].translate(_MARKS), f"`{found[0].strip('`')}`"]
        end = found.end()
    return "".join([*parts, text[end:].translate(_MARKS)]).replace("\n", " ")


def code(text: object) -> str:
    """Somebody else's text, in backticks: a file, a row's value, a caption; on one line, cut when it is long.

    >>> code("a|b"), code("tick ` tick"), code("")
    ('`a¦b`', '`` tick ` tick ``', '')
    """
    plain = " ".join(str(text).split()).replace("|", "¦")
    if len(plain) > LONGEST_CODE:
        plain = plain[: LONGEST_CODE - 1] + "…"
    if not plain:
        return ""
    return f"`` {plain} ``" if "`" in plain else f"`{plain}`"
