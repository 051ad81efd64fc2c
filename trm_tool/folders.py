"""Folders and files that are replaced as a whole, by renaming, so that a failure loses nothing."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from deeprec.trm_tool.errors import ConfigError


def replace_folder(staged: Path, target: Path) -> None:
    """Put a finished folder in the place of another, or where no folder is yet.

    The old folder is deleted only once the new one is in its place. Between two renames `target` is missing for a
    moment. A process that is killed then loses nothing: the old folder lies whole beside it, as `.NAME-old-…/NAME`,
    and the new one is where it was staged. A process that is killed while the old folder is deleted leaves the new one
    in place and the rest of the old one in `.NAME-old-…`.

    Args:
        staged: The new folder, in the same parent folder as `target`. On an error it stays, for the caller to delete.
        target: The folder to replace, not a symbolic link.

    Raises:
        ConfigError: `target` is, or holds, the current working folder, or cannot be replaced. It is unchanged, or the
            error names where it is kept.
    """
    check_not_current(target)
    try:
        if not target.exists():
            staged.rename(target)
            return
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
    except OSError as error:
        raise _cannot_be_written(target, error) from None
    kept = old / target.name
    try:
        target.rename(kept)
    except OSError as error:
        old.rmdir()
        raise _cannot_be_written(target, error) from None
    try:
        staged.rename(target)
    except OSError as error:
        try:
            kept.rename(target)
        except OSError as second:
            raise ConfigError(
                f"{target} could not be replaced ({error.strerror}) or restored ({second.strerror}). Its content is "
                f"kept as {kept}. Move it back."
            ) from None
        old.rmdir()
        raise _cannot_be_written(target, error) from None
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """Make an empty folder beside `target`, and its parents, for `replace_folder`; it is deleted if it stays unused.

    Raises:
        ConfigError: the folder cannot be made.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise _cannot_be_written(target, error) from None
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


@contextmanager
def staging_file(target: Path) -> Iterator[Path]:
    """Make an empty file beside `target`, and its parents; it takes the place of `target` if the block ends well.

    Raises:
        ConfigError: a file cannot be written there. An OSError of the block counts as that.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}-", dir=target.parent)
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror}. Name another file.") from None
    staged = Path(name)
    try:
        os.close(handle)
        yield staged
        staged.chmod(0o644)  # mkstemp makes files that only the owner can read
        staged.replace(target)
    except OSError as error:
        raise ConfigError(
            f"{target} cannot be written: {error.strerror or error}. Free its disk, or name another."
        ) from None
    finally:
        staged.unlink(missing_ok=True)


def let_others_read(staged: Path) -> None:
    """Open a staged folder and its files to other users: `mkdtemp` and safetensors write for the owner alone."""
    staged.chmod(0o755)
    for file in staged.iterdir():
        file.chmod(0o644)


def check_not_current(target: Path) -> None:
    """Raise ConfigError when replacing `target` would leave this process, and its shell, in a deleted folder."""
    try:
        current = Path.cwd()
    except OSError:  # it was deleted already
        return
    real = Path(os.path.realpath(target))
    if current.is_relative_to(real):
        what = "is" if current == real else "holds"
        raise ConfigError(
            f"{target} {what} the current working folder, which cannot be replaced while you are in it. Change to "
            "another folder first, or name another one to write to."
        )


@contextmanager
def one_writer(parent: Path) -> Iterator[None]:
    """Enter the block when no other thread or process is in such a block for the same folder.

    The lock is on `parent` itself: it leaves no file, and ends with a process that is killed. Windows and some network
    file systems have no locks on folders; there the block is entered at once.
    """
    with ExitStack() as stack:
        with suppress(ImportError, OSError):
            import fcntl

            handle = os.open(parent, os.O_RDONLY)
            stack.callback(os.close, handle)  # and with it the lock
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _cannot_be_written(target: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{target} cannot be written: {error.strerror or error}. Name another folder.")


def write_file(path: Path, text: str) -> None:
    """Write a text file in UTF-8 as a whole, in place of another where there is one; folders above it are made.

    Raises:
        ConfigError: it cannot be written. What was there before is unchanged.
    """
    staged = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(text, encoding="utf-8")
        staged.replace(path)
    except OSError as error:
        with suppress(OSError):
            staged.unlink(missing_ok=True)
        raise _cannot_be_written(path, error) from None
