"""Lock files: a folder that is written over hours has one process at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import IO, ParamSpec, cast

from deeprec.training.trainers.launcher import is_first_process
from deeprec.trm_tool.errors import ConfigError

Given = ParamSpec("Given")
TRAINING_LOCK = "training.lock"


def alone_in_folder(train: Callable[Given, Path]) -> Callable[Given, Path]:
    """Make a trainer refuse a folder `out`, a keyword of it, in which another training runs.

    Of the processes of one training that was launched with several, the first one holds the lock.
    """

    @wraps(train)
    def trained(*args: Given.args, **kwargs: Given.kwargs) -> Path:
        if not is_first_process():
            return train(*args, **kwargs)
        out = cast(Path, kwargs["out"])
        with lock_file(out / TRAINING_LOCK, busy=f"Another process trains in {out}."):
            return train(*args, **kwargs)

    return trained


@contextmanager
def lock_file(path: Path, *, busy: str) -> Iterator[None]:
    """Enter the block as the only one that holds a lock file, which is there as long as the block is in use.

    The lock ends with the process. Windows and some network file systems have none; there the block is entered at once.
    A folder that was made for the file and holds nothing else at the end is removed with it.

    Raises:
        ConfigError: another process holds it, which `busy` says in a sentence, or it cannot be written.
    """
    try:
        is_new = not path.parent.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _hold(path)
    except BlockingIOError as error:
        raise ConfigError(f"{busy} Wait for its end, or name another folder.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}. Name another folder.") from error
    with handle:
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()
                if is_new:
                    path.parent.rmdir()


def _hold(path: Path) -> IO[str]:
    """Open and lock a file that is made where there is none; it is never replaced, so those who begin at once meet."""
    while True:
        handle = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666))
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                return handle
        except FileNotFoundError:
            pass  # its last holder removed it between the two calls
        except BlockingIOError:
            handle.close()
            raise
        except (ImportError, OSError):
            return handle
        handle.close()
