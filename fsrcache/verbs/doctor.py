"""``doctor``: whether this machine and this workspace are in order, and what to do where they are not."""

import shlex
from collections.abc import Callable, Iterator
from functools import partial
from os import PathLike
from pathlib import Path

from fsrcache.errors import Blank, FsrcacheError, Remedy, arguments, call
from fsrcache.verbs.findings import Diagnosis, Finding, examined
from fsrcache.verbs.machine import device, disk, ops, threads, versions
from fsrcache.workspace import Workspace, open_workspace


def doctor(workspace: Workspace | str | PathLike[str] = "fsr") -> Diagnosis:
    """Examine versions, device, threads, kernels, disk and what a workspace has, in seconds, and change nothing.

    On a GPU every kernel is compiled, which the first time takes up to a minute. A module that the workspace names as
    its extractor is not imported.

    Parameters
    ----------
    workspace
        Workspace, or its folder, which need not exist.

    Returns
    -------
    Diagnosis
        The findings. What cannot be examined is one of them, never an error.
    """
    workspace = open_workspace(workspace)
    of_machine: dict[str, Callable[[], Iterator[Finding]]] = {
        "versions": versions,
        "device": device,
        "threads": threads,
        "kernels": ops,
        "disk": partial(disk, workspace.folder),
    }
    of_workspace = {"workspace": _folder, "data": _data, "extractor": _extractor, "store": _store, "runs": _runs}
    findings = [finding for subject, function in of_machine.items() for finding in examined(subject, function)]
    for subject, function in of_workspace.items():
        about = examined(subject, partial(function, workspace))
        findings += about
        if subject == "workspace" and not (about[-1].ok and workspace.folder.is_dir()):
            break
    return Diagnosis(tuple(findings))


def _folder(workspace: Workspace) -> Iterator[Finding]:
    folder = workspace.folder
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        yield Finding("workspace", f"{there} is a file.", ok=False,
                      remedy=Remedy("Name a folder: `{}`.", arguments(workspace=Blank("DIR"))))  # fmt: skip
    elif there == folder:
        yield Finding("workspace", f"{folder}")
    else:
        steps = call("pretrain", workspace=str(folder), data=Blank("PATH")), call("extract", workspace=str(folder))
        yield Finding("workspace", f"none at {folder} yet", remedy=Remedy("`{}`, then `{}` make it.", *steps))


def _data(workspace: Workspace) -> Iterator[Finding]:
    data, folder = workspace.data(), str(workspace.folder)
    if data is None:
        built_in = "none remembered: the built-in drawn faces are used"
        own = call("pretrain", workspace=folder, data=Blank("PATH"))
        yield Finding("data", built_in, remedy=Remedy("`{}` takes your own.", own))
    elif data.drawn:
        yield Finding("data", f"{data.path}, built in")
    elif Path(data.path).exists():
        yield Finding("data", data.path, remedy=f"`fsrcache data {shlex.quote(data.path)}` reads them all.")
    else:
        again = call("extract", workspace=folder, data=Blank("PATH"), **_scales(workspace))
        moved = Remedy(
            "If they have moved: `{}`, and the other options of the extraction if it had any. Training and evaluation "
            "of a complete store do not need them.",
            again,
        )
        yield Finding("data", f"There is nothing at {data.path}.", ok=False, remedy=moved)


def _scales(workspace: Workspace) -> dict[str, list[int]]:
    """Return the argument of an extraction that adds no scale to the store, none where there is no store."""
    from fsrcache.store.existing import read_root
    from fsrcache.store.objects import objects_at

    try:
        root = read_root(objects_at(workspace.store))
    except FsrcacheError:  # which is a finding of its own
        return {}
    return {} if root is None else {"scales": [scale for scale in root.spec.scales if scale > 1] or [1]}


def _extractor(workspace: Workspace) -> Iterator[Finding]:
    folder = str(workspace.folder)
    if not workspace.has_extractor:
        ways = call("pretrain", workspace=folder), call("extract", workspace=folder, extractor=Blank("FILE"))
        yield Finding("extractor", "none yet", remedy=Remedy("`{}` trains one; `{}` takes one.", *ways))
        return
    from fsrcache.extractors.opening import names_code, open_extractor

    source = workspace.extractor_source
    if names_code(source.reference):
        foreign = (
            "Whatever works with this workspace imports it: where it is somebody else's, look at that module first."
        )
        yield Finding("extractor", f"{source.reference}, Python code that is not imported here", remedy=foreign)
        return
    extractor = open_extractor(source)
    early = f", early features of {extractor.form.early:,}" * bool(extractor.form.early)
    yield Finding("extractor", f"{extractor.name}: {len(extractor.classes)} classes, {extractor.side} pixels, features "
                  f"of {extractor.form.length:,} numbers{early}")  # fmt: skip


def _store(workspace: Workspace) -> Iterator[Finding]:
    from fsrcache.evaluation.splits import REPORTED, SPLIT_FACES
    from fsrcache.verbs.info import info

    folder = str(workspace.folder)
    if not workspace.store.exists():
        yield Finding("store", "none yet", remedy=Remedy("`{}` writes it.", call("extract", workspace=folder)))
        return
    store = info(workspace)
    rows = ", ".join(f"{split} {count:,}" for split, count in store.spec.rows.items())
    text = f"{rows} faces at {len(store.spec.scales)} scales, {store.bytes / 1e6:,.1f} MB"
    if not store.complete:
        yield Finding("store", f"incomplete, {store.files_there:,} of {store.files:,} files: {text}", ok=False,
                      remedy="Run the same extraction again to complete it.")  # fmt: skip
        return
    check = Remedy("`{}` reads and checks everything in it.", call("verify", workspace=folder))
    yield Finding("store", f"complete: {text}", remedy=check)
    if not set(REPORTED) & set(store.spec.rows):
        yield Finding("store", "It has no val and no test: nothing can be evaluated.", ok=False, remedy=SPLIT_FACES)
    if workspace.has_extractor:
        _refuse_other_extractor(workspace)


def _refuse_other_extractor(workspace: Workspace) -> None:
    """Raise if the store was written with another extractor than the workspace's, unless code has to tell."""
    from fsrcache.extractors.identity import refuse_other_extractor
    from fsrcache.extractors.opening import names_code, open_extractor
    from fsrcache.store.reader import FeatureStore

    try:
        if names_code(workspace.extractor_source.reference):
            return
        extractor = open_extractor(workspace.extractor_source)
    except FsrcacheError:  # which is a finding of its own
        return
    refuse_other_extractor(FeatureStore(workspace.store), extractor)


def _runs(workspace: Workspace) -> Iterator[Finding]:
    from fsrcache.verbs.runs import runs

    known, folder = runs(workspace), str(workspace.folder)
    if not known:
        yield Finding("runs", "none yet", remedy=Remedy("`{}` trains a generator.", call("train", workspace=folder)))
        return
    yield Finding("runs", ", ".join(f"{run.name} {run.state}" for run in known))
    for run in known:
        if run.state == "damaged":
            again = call("train", workspace=folder, name=run.name, restart=True)
            yield Finding("runs", f"The files of the run {run.name} cannot be read.", ok=False,
                          remedy=Remedy("`{}` trains it anew.", again))  # fmt: skip
