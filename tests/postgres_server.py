"""A real PostgreSQL server that the tests start: a fresh cluster in a temporary folder, reached over a Unix socket."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

_numbers = count()


class NoPostgresError(Exception):
    """What is missing to start one."""


class PostgresServer:
    """A running server. `database()` makes a new, empty database and returns its URL."""

    def __init__(self, binaries: Path, folder: Path, user: list[str]) -> None:
        self._binaries, self._folder, self._user = binaries, folder, user

    def run(self, program: str, *words: str) -> None:
        command = [*self._user, str(self._binaries / program), *words]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            log = self._folder / "log"
            raise RuntimeError(f"{program}: {done.stdout}{done.stderr}{log.read_text() if log.exists() else ''}")

    def init(self) -> None:
        self.run("initdb", "--pgdata=data", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
        # Nobody needs these data after a crash.
        settings = {"listen_addresses": "''", "unix_socket_directories": f"'{self._folder}'", "fsync": "off"}
        with (self._folder / "data/postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def start(self) -> None:
        self.run("pg_ctl", "start", "--pgdata=data", "--log=log", "--wait", "--silent")

    def stop(self, how: str = "fast") -> None:
        self.run("pg_ctl", "stop", "--pgdata=data", f"--mode={how}", "--silent")

    def database(self) -> str:
        name = f"traces{next(_numbers)}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
        return f"postgresql://postgres@/{name}?host={self._folder}"

    def drop(self, url: str) -> None:
        with self.connect("postgres") as connection:
            name = url.split("@/")[1].split("?")[0]
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]

    def connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(f"dbname={database} user=postgres host={self._folder}", autocommit=True)


def find_binaries() -> Path:
    """The folder with `initdb` and `pg_ctl`: on the PATH, or where Debian puts them.

    Raises:
        NoPostgresError: there is none.
    """
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    for folder in folders:
        if (folder / "initdb").is_file() and (folder / "pg_ctl").is_file():
            return folder
    raise NoPostgresError("needs PostgreSQL's server programs (Debian: apt install postgresql)")


@contextmanager
def serve_postgres() -> Iterator[PostgresServer]:
    """Start a server; it and its data are gone at the end.

    Raises:
        NoPostgresError: its programs are not installed, or refuse to run as root and there is no user `postgres`.
    """
    binaries = find_binaries()
    folder = Path(tempfile.mkdtemp(prefix="deeprec-pg-"))  # a short path: that of a socket has 107 bytes at most
    user: list[str] = []
    try:
        if os.geteuid() == 0:
            try:
                owner = pwd.getpwnam("postgres")
            except KeyError:
                raise NoPostgresError("needs a user `postgres`, because PostgreSQL refuses to run as root") from None
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            user = ["runuser", "-u", "postgres", "--"]
        server = PostgresServer(binaries, folder, user)
        server.init()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
