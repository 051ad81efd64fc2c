"""The embedding cache on the hashing encoder, on files that are cut, flipped and shared, and in killed processes."""

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from deeprec.trm_tool import CachedEncoder, ConfigError, HashingEncoder
from tests.counting_encoder import CountingEncoder

TEXTS = [f"film number {number}" for number in range(1200)]  # three files


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npy"))


def filled(folder: Path, texts: Sequence[str] = TEXTS) -> list[Path]:
    CachedEncoder(HashingEncoder(8), folder).encode(texts)
    return files(folder)


def test_a_text_is_encoded_once_and_never_again(tmp_path: Path) -> None:
    texts = ["a comedy", "a\x00 comedy", "", " ", "drama", "a comedy"]
    first = CountingEncoder(8)
    vectors = CachedEncoder(first, tmp_path).encode(texts)
    assert first.encoded == ["a comedy", "drama"]
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, HashingEncoder(8).encode(texts))
    second = CountingEncoder(8)
    np.testing.assert_array_equal(CachedEncoder(second, tmp_path).encode([*texts, "war"])[:6], vectors)
    assert second.encoded == ["war"]
    assert CachedEncoder(first, tmp_path).encode(["", " "]).tolist() == [[0.0] * 8] * 2
    assert CachedEncoder(first, tmp_path).encode([]).shape == (0, 8)


def test_a_file_is_read_again_only_for_a_vector_that_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = filled(tmp_path)
    read: list[Path] = []
    read_bytes = Path.read_bytes

    def noted(path: Path) -> bytes:
        read.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    cached = CachedEncoder(counting := CountingEncoder(8), tmp_path)
    cached.encode(["not there"])
    assert sorted(read) == stored
    read.clear()
    np.testing.assert_array_equal(
        cached.encode([TEXTS[0], "not there"]), HashingEncoder(8).encode([TEXTS[0], "not there"])
    )
    assert len(read) == 2  # the file of each text; the other two of the four are left alone
    filled(tmp_path, ["written by another process"])
    cached.encode(["written by another process"])
    assert counting.encoded == ["not there"]


def test_it_stands_for_the_encoder_it_wraps(tmp_path: Path) -> None:
    cached = CachedEncoder(HashingEncoder(8), tmp_path)
    assert (cached.id, cached.fingerprint, cached.width) == ("hashing-8", "hashing-8", 8)
    assert list(tmp_path.iterdir()) == []  # nothing is written before something is encoded


def test_roles_and_encoders_are_kept_apart(tmp_path: Path) -> None:
    filled(tmp_path, ["a comedy"])
    item, preference, wider = CountingEncoder(8), CountingEncoder(8), CountingEncoder(16)
    CachedEncoder(item, tmp_path).encode(["a comedy"], role="item")
    CachedEncoder(preference, tmp_path).encode(["a comedy"], role="preference")
    assert CachedEncoder(wider, tmp_path).encode(["a comedy"]).shape == (1, 16)
    assert (item.encoded, preference.encoded, wider.encoded) == ([], ["a comedy"], ["a comedy"])


def test_progress_tells_what_is_there_and_what_comes(tmp_path: Path) -> None:
    filled(tmp_path, TEXTS[:100])
    reported: list[tuple[int, int]] = []
    CachedEncoder(CountingEncoder(8), tmp_path, on_progress=lambda done, total: reported.append((done, total))).encode(
        TEXTS
    )
    assert reported == [(100, 1200), (612, 1200), (1124, 1200), (1200, 1200)]


def test_an_encoding_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        CachedEncoder(CountingEncoder(8, fail_after=1000), tmp_path).encode(TEXTS)
    second = CountingEncoder(8)
    vectors = CachedEncoder(second, tmp_path).encode(TEXTS)
    assert second.encoded == TEXTS[1024:]
    np.testing.assert_array_equal(vectors, HashingEncoder(8).encode(TEXTS))


def test_a_killed_process_leaves_what_it_finished(tmp_path: Path) -> None:
    script = f"""
import os, signal
from deeprec.trm_tool import CachedEncoder, HashingEncoder
def kill(done, total):
    if done >= 512: os.kill(os.getpid(), signal.SIGKILL)
texts = [f"film number {{n}}" for n in range(1200)]
CachedEncoder(HashingEncoder(8), {str(tmp_path)!r}, on_progress=kill).encode(texts)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=120).returncode == -9
    second = CountingEncoder(8)
    CachedEncoder(second, tmp_path).encode(TEXTS)
    assert second.encoded == TEXTS[512:]


def test_a_file_cut_off_loses_only_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut = filled(tmp_path)[0]
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    second = CountingEncoder(8)
    with caplog.at_level(logging.WARNING):
        vectors = CachedEncoder(second, tmp_path).encode(TEXTS)
    np.testing.assert_array_equal(vectors, HashingEncoder(8).encode(TEXTS))
    assert 0 < len(second.encoded) < 512
    (record,) = caplog.records
    assert f"{cut} is damaged ({len(second.encoded)} of " in record.getMessage()
    # The damage was repaired: the next one finds everything and logs nothing.
    caplog.clear()
    third = CountingEncoder(8)
    CachedEncoder(third, tmp_path).encode(TEXTS)
    assert (third.encoded, caplog.records) == ([], [])


def test_a_flipped_byte_loses_one_vector(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (path,) = filled(tmp_path, TEXTS[:100])
    content = bytearray(path.read_bytes())
    content[-10] ^= 1  # in the last vector
    path.write_bytes(content)
    second = CountingEncoder(8)
    vectors = CachedEncoder(second, tmp_path).encode(TEXTS[:100])
    assert second.encoded == [TEXTS[99]]
    np.testing.assert_array_equal(vectors, HashingEncoder(8).encode(TEXTS[:100]))
    assert "1 of 100 vectors are lost" in caplog.text


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_damage_at_all_gives_a_wrong_vector_or_a_crash(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    (path,) = filled(folder, TEXTS[:5])
    content = bytearray(path.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] + data.draw(st.binary(max_size=100)))
    vectors = CachedEncoder(HashingEncoder(8), folder).encode(TEXTS[:5])
    np.testing.assert_array_equal(vectors, HashingEncoder(8).encode(TEXTS[:5]))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"{}" * 500, bytes(5000)])
def test_a_file_that_is_no_shard_is_put_aside(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (path,) = filled(tmp_path, ["a comedy"])
    path.write_bytes(content)
    second = CountingEncoder(8)
    CachedEncoder(second, tmp_path).encode(["a comedy"])
    assert second.encoded == ["a comedy"]
    assert "its header cannot be read" in caplog.text
    assert not path.exists()


def test_an_array_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    (path,) = filled(tmp_path, ["a comedy"])
    with path.open("wb") as file:
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    second = CountingEncoder(8)
    CachedEncoder(second, tmp_path).encode(["a comedy"])
    assert second.encoded == ["a comedy"]


def test_the_files_are_plain_npy(tmp_path: Path) -> None:
    (path,) = filled(tmp_path, ["a comedy", "drama"])
    table = np.load(path, allow_pickle=False)
    np.testing.assert_array_equal(table["vector"], HashingEncoder(8).encode(["a comedy", "drama"]))


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    script = f"""
import sys
from deeprec.trm_tool import CachedEncoder, HashingEncoder
texts = [f"film number {{n}}" for n in range(1200)]
CachedEncoder(HashingEncoder(8), {str(tmp_path)!r}).encode(texts if sys.argv[1] == "0" else texts[::-1])
"""
    writers = [subprocess.Popen([sys.executable, "-c", script, str(number)]) for number in range(2)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    second = CountingEncoder(8)
    vectors = CachedEncoder(second, tmp_path).encode(TEXTS)
    assert second.encoded == []
    np.testing.assert_array_equal(vectors, HashingEncoder(8).encode(TEXTS))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"embedding cache .* cannot be made: Not a directory") as raised:
        CachedEncoder(HashingEncoder(8), tmp_path / "file").encode(["a"])
    assert "\n" not in str(raised.value)


def test_encoding_goes_on_where_nothing_can_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (path,) = filled(tmp_path, TEXTS[:1])

    def lose(done: int, total: int) -> None:
        if path.parent.exists():
            path.unlink()
            path.parent.rmdir()

    vectors = CachedEncoder(HashingEncoder(8), tmp_path, on_progress=lose).encode(TEXTS)
    np.testing.assert_array_equal(vectors, HashingEncoder(8).encode(TEXTS))
    assert len(caplog.records) == 1
    assert "cannot be written (No such file or directory); encoding continues without it" in caplog.text


def test_vectors_of_two_widths_under_one_name_are_refused(tmp_path: Path) -> None:
    class Wider(HashingEncoder):
        @property
        def fingerprint(self) -> str:  # type: ignore[override]
            return "hashing-8"

        @fingerprint.setter
        def fingerprint(self, value: str) -> None: ...

    filled(tmp_path, ["a comedy"])
    with pytest.raises(ConfigError, match=r"holds vectors of the widths \[8, 9\]"):
        CachedEncoder(Wider(9), tmp_path).encode(["a comedy", "drama"])


def test_what_a_killed_writer_left_is_cleared_away_after_a_while(tmp_path: Path) -> None:
    (path,) = filled(tmp_path, ["a comedy"])
    old, new = path.parent / ".old.tmp", path.parent / ".new.tmp"
    for unfinished in (old, new):
        unfinished.write_bytes(b"half")
    os.utime(old, (0, 0))
    filled(tmp_path, ["a comedy"])
    assert (old.exists(), new.exists()) == (False, True)
