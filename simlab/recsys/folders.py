"""Folders of files that appear whole or not at all, once, and never change.

Why: a day of the log and a stored model are several files, and half of one would be read as the whole.
"""

import errno
import shutil
from collections.abc import Mapping
from pathlib import Path

from simlab.files import draft_of, write_bytes


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Makes `folder` of `files`, name to content. The renaming of a draft is the moment at which it is there.

    Raises `FileExistsError` where there is such a folder already, and `OSError` naming the file where it cannot be
    written, for example on a full disk; nothing is left then.
    """
    draft = draft_of(folder)
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    try:
        for name, data in files.items():
            write_bytes(draft / name, data)
        draft.rename(folder)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        if folder.exists():
            raise FileExistsError(errno.EEXIST, "it exists already", str(folder)) from error
        raise
