import tracemalloc
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from deeprec.trm_tool import ColumnNames, read_atomic_files
from deeprec.trm_tool.data.atomic_rows import SeenLines
from deeprec.trm_tool.data.problems import find_problems

WriteAtomic = Callable[..., Path]


def test_repeats_are_found_as_with_the_lines_themselves() -> None:
    random = Random(0)
    seen, lines = SeenLines(), dict[str, int]()
    for number in range(1, 5001):
        line = f"u{random.randrange(3000)}\té"
        assert seen.first(line, number) == lines.get(line)
        lines.setdefault(line, number)
    assert 1000 < len(lines) < 3000  # the table grew, and there were repeats


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_line_seen_takes_no_more_than_its_slot() -> None:
    def see() -> SeenLines:
        seen = SeenLines()
        for number in range(20_000):
            seen.first(f"{number}\t", number)
        return seen

    assert peak_bytes(see) < 80 * 20_000  # 16 bytes a slot, a third to two thirds filled, twice while it grows


@pytest.mark.parametrize("check", [False, True])
def test_the_memory_of_reading_does_not_grow_with_the_length_of_lines(write_atomic: WriteAtomic, check: bool) -> None:
    note = "x" * 5000
    rows = [f"u{number // 4}\ti{number % 4}\t{note}\t{number}" for number in range(1000)]
    items = [f"i{number}\tThing" for number in range(4)]
    header = "user_id:token\titem_id:token\tnote:token\ttimestamp:float"
    folder = write_atomic(inter=rows, items=items, inter_header=header, item_header="item_id:token\ttitle:token_seq")
    [inter], [item] = folder.glob("*.inter"), folder.glob("*.item")

    def read() -> object:
        return find_problems(inter, item, ColumnNames()) if check else read_atomic_files(folder)

    read()  # so that nothing is imported under the measurement
    assert peak_bytes(read) < inter.stat().st_size / 4
