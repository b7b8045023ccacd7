"""The data of a git revision, brought from the DVC remote into a folder of its own; else the catalogue.

This is how a machine without a working copy gets its data: a Kubeflow task, above all. (`restore` serves the working
copy.) The result is a folder that holds `data/` and `data.dvc`, so that every stage finds the data's fingerprint.
"""

import configparser
import io
import logging
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import yaml

from qure.catalogue.pointer import tracked_folder
from qure.catalogue.stage import render
from qure.config import Settings
from qure.errors import BadInput, StageFailed
from qure.files import atomic_folder
from qure.scratch import scratch_folder, temporary_folder
from qure.tracking import data_fingerprint, redacted
from qure.tracking.retrying import AWAY, retry

logger = logging.getLogger(__name__)

POINTER = "data.dvc"
CATALOGUE = "catalogue"
_DVC_HASH = re.compile(r"[0-9a-f]{32}(\.dir)?")


class Pinned(NamedTuple):
    """Data that cannot come to mean other data."""

    #: Commit whose .dvc/config names the remote; "catalogue" where the data is rendered.
    commit: str
    #: DVC's hash of the data root; empty where the data is rendered.
    data_hash: str


def pin(repository: str, revision: str) -> Pinned:
    """Finds out what a revision means now.

    Args:
        repository: URL or path of the git repository that holds data.dvc and .dvc/config; empty for the catalogue.
        revision: branch, tag or commit, or DVC's hash of the data (32 hex digits, ".dir" may follow).

    Raises:
        BadInput: no such repository or revision, or it tracks no data.
        StageFailed: the repository's server does not answer.
    """
    if not repository:
        return Pinned(CATALOGUE, "")
    by_hash = _DVC_HASH.fullmatch(revision)
    with _cloned(repository) as git:
        commit = _resolve(git, repository, "HEAD" if by_hash else revision)
        if by_hash:
            return Pinned(commit, revision if revision.endswith(".dir") else f"{revision}.dir")
        return Pinned(commit, _hash(_file(git, commit, POINTER, repository), repository))


def fetch(settings: Settings, repository: str, pinned: Pinned, output: Path, *, cache: Path | None = None) -> str:
    """Writes `output/data` and `output/data.dvc`, whole or not at all.

    Args:
        settings: the catalogue's settings, used where no repository is given.
        repository: as for `pin`.
        pinned: what `pin` returned.
        output: replaced when it exists and holds other data; left alone when it holds this data.
        cache: DVC cache that outlives this call, so that versions share their unchanged files.

    Returns:
        The data's fingerprint, as `qure.tracking.data_fingerprint` gives it.

    Raises:
        BadInput: the repository or its remote's configuration cannot be used.
        StageFailed: the remote does not answer or does not hold the data.
    """
    if (
        pinned.data_hash
        and (output / POINTER).is_file()
        and data_fingerprint(output / "data") == f"md5:{pinned.data_hash}"
    ):
        logger.info("%s holds the data already", output)
        return data_fingerprint(output / "data")
    with atomic_folder(output) as folder, scratch_folder(folder) as workshop:
        _dvc(workshop, "init", "--no-scm", "--quiet")
        if pinned.data_hash:
            _configure(workshop, repository, pinned.commit, cache)
            _write_pointer(workshop / POINTER, pinned.data_hash)
            retry(
                lambda: _dvc(workshop, "pull", "--quiet", POINTER),
                passes=lambda error: AWAY.search(str(error)) is not None,
                what="the DVC remote",
            )
        else:
            _dvc(workshop, "config", "cache.type", "reflink,hardlink,copy")
            render(settings, workshop / "data")
            _dvc(workshop, "add", "--quiet", "data")
        for name in ("data", POINTER):
            (workshop / name).rename(folder / name)
    _make_writable(output / "data")
    return data_fingerprint(output / "data")


@contextmanager
def _cloned(repository: str) -> Iterator["object"]:
    """A clone of the code repository; it holds no data, so it is small. Needs no git program."""
    from scmrepo.exceptions import CloneError
    from scmrepo.git import Git

    with temporary_folder() as folder:

        def clone() -> Git:
            return Git.clone(repository, tempfile.mkdtemp(dir=folder))  # a broken attempt leaves files behind

        try:
            git = retry(clone, passes=_is_away, what=f"git ({redacted(repository)})")
        except CloneError as error:
            if _is_away(error):
                raise StageFailed(
                    f"{redacted(repository)!r} cannot be cloned, its server does not answer: "
                    f"{redacted(str(error.__cause__ or error))}. Check data.repository and the network"
                ) from None
            raise BadInput(
                f"{redacted(repository)!r} cannot be cloned: {redacted(str(error.__cause__ or error))}",
                field="data.repository",
                remedy="Check the URL and that this machine may read it",
            ) from None
        try:
            yield git
        finally:
            git.close()


def _is_away(error: BaseException | None) -> bool:
    """Whether a clone failed because nothing answered, or the server was not well: not for want of a right."""
    while error is not None:
        # scmrepo and dulwich wrap what the transport raised, and name an HTTP status in words alone.
        if isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
            return True
        if AWAY.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _resolve(git: object, repository: str, revision: str) -> str:
    from scmrepo.exceptions import RevError

    try:
        return str(git.resolve_rev(revision))  # type: ignore[attr-defined]
    except RevError:
        raise BadInput(
            f"{redacted(repository)!r} has no revision {revision!r}", field="data.revision", remedy="Push it first"
        ) from None


def _file(git: object, commit: str, name: str, repository: str) -> str:
    try:
        with git.get_fs(commit).open(f"/{name}", "r", encoding="utf-8") as stream:  # type: ignore[attr-defined]
            return str(stream.read())
    except FileNotFoundError:
        raise BadInput(
            f"{redacted(repository)!r} has no {name} at {commit[:12]}",
            remedy="Track the data (dvc add data), set a remote (dvc remote add -d) and commit both",
        ) from None


def _hash(pointer: str, repository: str) -> str:
    found = tracked_folder(pointer)
    if found is None:
        raise BadInput(f"{redacted(repository)!r}: {POINTER} does not track a folder with DVC", file=POINTER)
    return found


def _configure(workshop: Path, repository: str, commit: str, cache: Path | None) -> None:
    """Gives the workshop the repository's remotes. Credentials are not in there: they come from the environment."""
    with _cloned(repository) as git:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(_file(git, commit, ".dvc/config", repository))
        except configparser.Error as error:
            # It quotes lines, which may hold secrets.
            problem = redacted(f"{repository!r}: not a configuration: {error}")
            raise BadInput(problem, file=".dvc/config") from None
    for section in parser.sections():
        if section.startswith(("remote ", "'remote ")) and parser.has_option(section, "url"):
            parser.set(section, "url", _absolute(parser.get(section, "url"), repository))
    text = io.StringIO()
    parser.write(text)
    (workshop / ".dvc" / "config").write_text(text.getvalue(), encoding="utf-8")
    _dvc(workshop, "config", "core.no_scm", "true")
    _dvc(workshop, "config", "cache.type", "reflink,hardlink,copy")
    if cache is not None:
        _dvc(workshop, "cache", "dir", str(cache.resolve()))


def _absolute(url: str, repository: str) -> str:
    """DVC takes a relative remote from the folder that its config is in; the copy of the config is elsewhere."""
    if "://" in url or Path(url).is_absolute():
        return url
    if not Path(repository).is_dir():
        raise BadInput(
            f"the DVC remote {url!r} is a path inside the repository's own machine",
            file=".dvc/config",
            remedy="Use a remote that this machine reaches, for example s3://",
        )
    return str((Path(repository) / ".dvc" / url).resolve())


def _write_pointer(file: Path, md5: str) -> None:
    file.write_text(yaml.safe_dump({"outs": [{"md5": md5, "hash": "md5", "path": "data"}]}), encoding="utf-8")


def _dvc(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = redacted(f"{done.stderr}\n{done.stdout}".strip())
        raise StageFailed(f"`dvc {' '.join(arguments)}` failed: {said}")


def _make_writable(folder: Path) -> None:
    """DVC protects linked files; in a folder that is handed on, that only stops its removal."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1:
            path.chmod(0o644)
