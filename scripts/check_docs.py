"""Hold the documents to the tree: links lead somewhere, words of the Makefile exist, functions are where they say, and
tests that tables name are there.

Prints what is wrong, a line each, and exits with 1.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
WORD = re.compile(r"(?<![\w/])make ([a-z]+)(?=[`\s.,;:)]|$)")
PLACE = re.compile(r"`([\w./]+\.(?:c|h|py))`: `(\w+)`")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PROSE = {"sure", "a"}  # "make sure" is no word of the Makefile


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as renderers make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def check_links(document: Path, text: str) -> list[str]:
    """Links whose file or heading is not there."""
    wrong = []
    for target, anchor in LINK.findall(FENCE.sub("", text)):
        if target.startswith("http"):
            continue
        path = document.parent / target if target else document
        if not path.exists():
            wrong.append(f"link to {target}, which is not there")
        elif anchor and anchor not in anchors(path.read_text()):
            wrong.append(f"link to {target}#{anchor}, but no such heading")
    return wrong


def check_words(text: str, words: set[str]) -> list[str]:
    """`make` words that the Makefile does not know, where a document quotes them."""
    quoted = re.findall(r"`[^`\n]+`", FENCE.sub("", text)) + FENCE.findall(text)
    named = {word for piece in quoted for word in WORD.findall(piece)}
    return [f"make {word} is no word of the Makefile" for word in sorted(named - words - PROSE)]


def check_places(text: str, sources: dict[str, list[Path]]) -> list[str]:
    """Functions that are not in the file a document puts them in."""
    wrong = []
    for name, symbol in PLACE.findall(text):
        files = sources.get(Path(name).name, [])
        if not any(re.search(rf"\b{symbol}\b", file.read_text()) for file in files):
            wrong.append(f"{name} has no {symbol}")
    return wrong


def shown_by(text: str) -> list[tuple[str, str]]:
    """The rows of tables with a column "shown by": the first cell, and that one."""
    rows = []
    column = 0
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if "shown by" in cells:
            column = cells.index("shown by")
        elif not cells:
            column = 0
        elif column and len(cells) > column and not cells[0].startswith("---"):
            rows.append((cells[0], cells[column]))
    return rows


def check_tests(text: str, sources: dict[str, list[Path]], paths: list[str]) -> list[str]:
    """Rows that name no test, or one that is not there. A name with a slash is a file that a test reads."""
    wrong = []
    for what, cell in shown_by(text):
        files: list[Path] = []
        found = []
        for name in re.findall(r"`([^`]+)`", cell):
            if "/" in name:
                found.append(any(path.endswith(f"/{name}") for path in paths))
            elif name.endswith((".py", ".rs", ".c")):
                files = sources.get(name, [])
                found.append(bool(files))
            else:
                found.append(any(re.search(rf"\b{name}\b", file.read_text()) for file in files))
        if not found or not all(found):
            wrong.append(f"{what!r} is shown by {cell!r}, and there is no such test")
    return wrong


def main() -> int:
    """Check every document under version control."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [ROOT / name for name in listed.splitlines() if (ROOT / name).exists()]
    sources: dict[str, list[Path]] = {}
    for file in files:
        if file.suffix in {".c", ".h", ".py", ".rs"}:
            sources.setdefault(file.name, []).append(file)
    words = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    count = 0
    for document in (file for file in files if file.suffix == ".md"):
        text = document.read_text()
        for problem in (
            check_links(document, text)
            + check_words(text, words)
            + check_places(text, sources)
            + check_tests(text, sources, [str(file) for file in files])
        ):
            print(f"{document.relative_to(ROOT)}: {problem}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
