"""MkDocs' hooks (mkdocs.yml): pages that lie elsewhere in the repository, the library's reference, links between all.

Files are read where GitHub shows them, so their links are relative to the repository. On the site a link to a page
leads to the page, one to any other file becomes its text; one to nothing ends the build. As a Griffe extension it shows
doctests as code.
"""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

import griffe
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]

#: File of the repository -> page of the site; besides everything below docs/.
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}

#: What no program imports.
_INTERNAL = ("cli",)

_LINK = re.compile(r"\[([^\]]*)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Adds a page for each part of the library to the navigation."""
    config.nav.append({"Reference": [_page(name) for name in parts()]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are not in docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for name in parts():
        files.append(File.generated(config, _page(name), content=_reference(name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Leads a page's links to where things are on the site."""
    sources = {target: source for source, target in PAGES.items()}
    return relinked(markdown, PurePosixPath(sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")))


class Doctests(griffe.Extension):
    """Shows doctests as code: in the middle of a docstring they would be quotations and links."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(docstring: str) -> str:
    """A docstring with each doctest, up to the next empty line, in a block of code.

    >>> print(fenced("Adds.\\n\\n>>> 1 + 1\\n2\\n\\nEnd."))
    Adds.
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    <BLANKLINE>
    End.
    """
    return re.sub(r"^( *)>>> .+(?:\n.+)*", r"\1```pycon\n\g<0>\n\1```", docstring, flags=re.MULTILINE)


def parts() -> list[str]:
    """The library's packages and modules, each a page: qure itself first.

    >>> parts()[:2], "qure.config" in parts(), "qure.cli" in parts()
    (['qure', 'qure.ablation'], True, False)
    """
    found = {
        path.stem for path in (ROOT / "qure").glob("[a-z]*") if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    return ["qure", *(f"qure.{name}" for name in sorted(found - set(_INTERNAL)))]


def relinked(markdown: str, source: PurePosixPath) -> str:
    """Text of a file of the repository with links as the site has them.

    >>> relinked("[a](docs/gpu.md#x), [b](qure/py.typed), [c](https://example.org)", PurePosixPath("README.md"))
    '[a](gpu.md#x), b, [c](https://example.org)'
    >>> relinked("[a](../CONTRIBUTING.md)", PurePosixPath("docs/gpu.md"))
    '[a](contributing.md)'

    Raises:
        PluginError: a link to a file that is not there.
    """

    def leads(found: re.Match[str]) -> str:
        text, target, anchor = found[1], os.path.normpath(source.parent / found[2]), found[3] or ""
        if not (ROOT / target).exists():
            raise PluginError(f"{source}: [{text}]({found[2]}): there is no such file")
        page = PAGES.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        return f"[{text}]({page}{anchor})" if page else text

    return _LINK.sub(leads, markdown)


def _reference(name: str) -> str:
    """A part's page: all modules below it; of the package itself, which has all, its own text."""
    own = "    options: {show_submodules: false}\n" if "." not in name else ""
    return f"# {name}\n\n::: {name}\n{own}"


def _page(name: str) -> str:
    return f"reference/{name}.md"
