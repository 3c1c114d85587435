"""Checkpoints, bundles and data sets from a repository on the Hugging Face hub: ``org/name@revision``.

Files go through the cache of huggingface_hub, which its environment variables move, take offline or give a token to.
Only what yoj reads is downloaded, and never a file that holds code.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias

from .bundle import PLANS
from .errors import HubError
from .held import is_there
from .manifest import MANIFEST_NAME, decode

Kind: TypeAlias = Literal["checkpoint", "bundle"]
_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CHECKPOINT_FILES = (
    "*.json",
    "*.jinja",
    "*.safetensors",
    "value_head.pt",
    "value_head.bin",
    "adapter_model.bin",
    "non_lora_state_dict.bin",
    "model.pth",
    "final_model.pth",
)
"""Patterns of the files that an export reads, or refuses to leave out. The last six are pickles, of which PyTorch
reads tensors alone."""
_NEVER = ("*.py", "*.pyc", "*.so", "*.dll", "*.pkl", "*.pickle", "optimizer*", "*/optimizer*")
"""Patterns that are never downloaded, whatever a repository lists: code, and files that only a training goes on
from."""


def local_folder(given: str | Path, kind: Kind, plans: bool = False) -> Path:
    """Find the folder of a checkpoint or bundle; where no such path exists and the name is a hub id, download it.

    Args:
        given: a path, or ``org/name@revision``, whose revision is a branch, a tag or a commit. What exists as a path is
            that path.
        kind: kind of folder, which decides the files that are wanted.
        plans: whether TensorRT plans of a bundle are wanted too.

    Returns:
        A folder of huggingface_hub's cache, named after the commit; or the path as it was given, whether or not there
        is anything.

    Raises:
        HubError: there is no such path, and no revision is named; or huggingface_hub is not installed, or there is no
            such repository or revision, or no access to it, or no network and nothing in the cache.
        BundleError: its manifest cannot be read.
    """
    if (asked := _asked(given)) is None:
        return Path(given)
    patterns: Sequence[str] = _CHECKPOINT_FILES
    if kind == "bundle":
        repo, revision = asked.repo, asked.revision
        manifest = _fetch(asked, lambda hub: hub.hf_hub_download(repo, MANIFEST_NAME, revision=revision))
        names = decode(manifest.read_bytes(), f"{MANIFEST_NAME} of {asked.name}").files
        patterns = [MANIFEST_NAME, *(glob.escape(name) for name in names if plans or not name.startswith(PLANS))]
        asked = replace(asked, revision=manifest.parent.name)  # so that all files are of one commit
    return _snapshot(asked, patterns, f"file of a {kind}")


def dataset_folder(given: str | Path, patterns: Sequence[str]) -> Path:
    """Find the file or folder of a data set; where no such path exists and the name is a hub id, download it.

    Args:
        given: a path, or ``org/name@revision``; see `local_folder`.
        patterns: patterns of the files that are wanted.

    Returns:
        A folder of huggingface_hub's cache, named after the commit; or the path as it was given, whether or not there
        is anything.

    Raises:
        HubError: see `local_folder`.
    """
    if (asked := _asked(given, "dataset")) is None:
        return Path(given)
    return _snapshot(asked, patterns, f"file that matches {', '.join(patterns)}")


def is_hub_id(given: str | Path) -> bool:
    """Whether nothing of that name exists here, and the name has the form of a hub id."""
    return _ID.fullmatch(_text(given)) is not None and not is_there(Path(given))


def origin(folder: Path) -> str | None:
    """``org/name@commit`` of a folder in huggingface_hub's cache; None for any other."""
    repo, snapshots, commit = ("", "", *folder.absolute().parts)[-3:]
    kind, dashes, name = repo.partition("--")
    if snapshots != "snapshots" or kind not in ("models", "datasets") or not dashes or not _COMMIT.fullmatch(commit):
        return None
    return f"{name.replace('--', '/', 1)}@{commit}"


@dataclass(frozen=True)
class _Asked:
    """Repository and revision that a hub id names."""

    repo: str
    revision: str
    type: Literal["model", "dataset"]

    @property
    def name(self) -> str:
        return f"{self.repo}@{self.revision}"

    @property
    def page(self) -> str:
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{'datasets/' if self.type == 'dataset' else ''}{self.repo}"


def _asked(given: str | Path, repo_type: Literal["model", "dataset"] = "model") -> _Asked | None:
    """Repository and revision that a hub id asks for; None for a path."""
    if not is_hub_id(given) or (found := _ID.fullmatch(_text(given))) is None:
        return None
    repo, revision = found["repo"], found["revision"]
    if revision is None:  # a path that is spelt wrongly looks like this, and must not fetch what a stranger named so
        raise HubError(
            f"{given} is no folder here. If you mean the repository of that name on the Hugging Face hub, say which "
            f"revision: {repo}@main, or a tag or commit."
        )
    return _Asked(repo, revision, repo_type)


def _snapshot(asked: _Asked, patterns: Sequence[str], told: str) -> Path:
    """Folder of the cache with the files that match."""
    folder = _fetch(
        asked,
        lambda hub: hub.snapshot_download(
            asked.repo,
            repo_type=asked.type,
            revision=asked.revision,
            allow_patterns=list(patterns),
            ignore_patterns=list(_NEVER),
        ),
    )
    if not folder.is_dir():
        raise HubError(f"{asked.name} holds no {told}. Check the name: {asked.page}")
    return folder


_REFUSALS = (
    (
        ("GatedRepoError",),
        "{name} is open to those alone whom its owner lets in. Ask for it on {page}, then log in with hf auth login or "
        "set HF_TOKEN.",
    ),
    (
        ("RepositoryNotFoundError",),
        "{repo} is no folder here, and {endpoint} has no such repository or does not show it to you. Check the name; "
        "for a private one log in with hf auth login or set HF_TOKEN.",
    ),
    (("RevisionNotFoundError",), "{repo} has no revision {revision}. Give a branch, a tag or a whole commit of {page}"),
    (
        ("LocalEntryNotFoundError", "OfflineModeIsEnabled"),
        "{name} is no folder here and not whole in the cache, and {unreachable}. Download it where there is a network, "
        "with hf download {repo}{type} --revision {revision} --local-dir FOLDER, and give the folder.",
    ),
    (
        ("EntryNotFoundError",),
        "{name} holds no {manifest}, so it is no bundle. If it is a checkpoint, make a bundle of it with yoj-export "
        "{name}.",
    ),
    (("Exception",), "{name} cannot be downloaded: {error}. Try again, or give a folder."),
)
"""Class of an error, or of one of its bases -> its meaning, the special before the general. The last covers faults of
the network, the disk and the server."""


def _fetch(asked: _Asked, download: Callable[[Any], str]) -> Path:
    """Path that a function of huggingface_hub returns."""
    hub = _library(asked.name)
    try:
        return Path(download(hub))
    except Exception as error:
        bases = {base.__name__ for base in type(error).__mro__}
        text = next(text for names, text in _REFUSALS if bases & set(names))
        offline = "offline mode is on (HF_HUB_OFFLINE)"
        said = {
            "name": asked.name,
            "repo": asked.repo,
            "revision": asked.revision,
            "type": " --repo-type dataset" if asked.type == "dataset" else "",
            "endpoint": hub.constants.ENDPOINT,
            "page": asked.page,
            "manifest": MANIFEST_NAME,
            "unreachable": offline if hub.constants.HF_HUB_OFFLINE else "the hub cannot be reached",
            "error": str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__,
        }
        raise HubError(text.format(**said)) from error


def _library(name: str) -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise HubError(
            f"{name} is no folder here. To read it as a hub id, install huggingface_hub: pip install 'yoj[hub]'"
        ) from error
    return huggingface_hub


def _text(given: str | Path) -> str:
    """Name as it was given, so that a leading ``./``, which marks a path, is kept."""
    return given if isinstance(given, str) else given.as_posix()
