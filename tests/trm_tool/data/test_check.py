import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from deeprec.trm_tool import ColumnNames, DataError, HashingEncoder, embedded_ml100k, read_atomic_files, train_trm
from deeprec.trm_tool.data import CheckReport, ShopConfig, check_data, generate_shop

WriteAtomic = Callable[..., Path]
ITEM_HEADER = "item_id:token\ttitle:token_seq\tbrand:token\tprice:float\ttags:token_seq\tdescription:token_seq"
ITEMS = [f"i{n}\tThing {n}\t{'Loom' if n % 2 else ''}\t{n}.5\ta b\tIt is thing {n}" for n in range(22)]


def walk(user: str, *items: int, times: tuple[int, ...] = ()) -> list[str]:
    return [f"{user}\ti{item}\t1\t{times[at] if times else at}" for at, item in enumerate(items)]


GOOD = [*walk("u", 0, 1, 2, 3), *walk("v", 1, 2, 3, 4), *walk("w", 0, 2, 1)]


def problems(report: CheckReport) -> dict[str, tuple[int, bool]]:
    return {problem.kind: (problem.count, problem.droppable) for problem in report.problems}


def test_the_statistics_are_what_is_in_the_files(write_atomic: WriteAtomic) -> None:
    rows = [
        *walk("u", 0, 1, 2, 5),  # 5 is a test target only
        *walk("v", 0, 1, 6, 2),  # 6 a validation target only
        *walk("w", 2, 1, 0, 1, 2, times=(1, 1, 2, 3, 3)),  # repeats of 1 and 2, two ties, one of them at the end
    ]
    items = [*ITEMS[:20], "i20\tThing 1\t\t\t\t", "i21\t\t\t\t\t"]
    report = check_data(write_atomic(inter=rows, items=items, item_header=ITEM_HEADER))
    data = report.statistics
    assert data is not None
    assert (data.users, data.items, data.interactions) == (3, 22, 13)
    assert data.density == pytest.approx(13 / 66)
    assert data.history_lengths == {"min": 4, "median": 4, "mean": pytest.approx(13 / 3), "90%": 4.8, "max": 5}
    assert (data.tied_pairs, data.tied_targets) == (2, 1)
    assert (data.repeated_pairs, data.seen_targets) == (2, 1)
    assert (data.missing_titles, data.shared_titles, data.items_sharing_a_title) == (1, 1, 2)
    assert (data.cold_items, data.cold_test_targets, data.idle_items) == (2, 1, 17)
    kinds = {attribute.name: attribute for attribute in data.attributes}
    assert {name: (a.kind, a.filled, a.distinct) for name, a in kinds.items()} == {
        "brand": ("category", 10, 1),
        "price": ("number", 20, 20),
        "tags": ("tags", 20, 2),
    }
    assert (kinds["price"].low, kinds["price"].high) == (0.5, 19.5)
    assert data.longest_text == max(len(item.text) for item in read_atomic_files(Path(report.folder)).catalogue)
    assert report.trainable
    assert report.problems == ()
    assert [count for _, count in report.rows] == [13, 13, 13, 13, 13]
    assert report.files == {path.name: path.stat().st_size for path in Path(report.folder).iterdir()}
    warnings = " ".join(report.warnings)
    assert "3 people are too few" in warnings
    assert "1 of 3 people: the last two time stamps tie" in warnings
    assert "1 of 3 people had their last item before" in warnings
    assert "1 of 3 people: training never sees their last item" in warnings
    assert "1 of 22 items have no title" in warnings
    assert "12 of 22 items have no brand" in warnings
    assert json.loads(json.dumps(report.to_dict()))["statistics"]["users"] == 3


def test_every_problem_is_counted_and_the_first_is_named(write_atomic: WriteAtomic) -> None:
    bad = [
        "u\ti0\t1\t0",  # repeats line 2
        "u\ti1\t1\t1",
        "u\tgone\t1\t9",
        "u\ti4\t1\tsoon",
        "u\ti4\t1\tnan",
        "\ti4\t1\t9",
        "u\t\t1\t9",
        "u\ti4\t9",
        "x\ti4\t1\t9",
    ]
    content = "\n".join(["user_id:token\titem_id:token\trating:float\ttimestamp:float", *GOOD, *bad]).encode()
    items = [*ITEMS, "i0\tAgain\t\t\t\t", "\tNobody\t\t\t\t", "i30\tDear\t\tmuch\t\t", "i31\tShort"]
    folder = write_atomic(inter=content + b"\nu\t\xe9\t1\t1\n", items=items, item_header=ITEM_HEADER)
    report = check_data(folder)
    assert problems(report) == {
        "items without an id": (1, True),
        "repeated items": (1, True),
        "values that are not a number": (1, True),
        "lines with a wrong number of fields": (2, True),
        "repeated interactions": (2, True),
        "interactions with unknown items": (1, True),
        "time stamps that are not a finite number": (2, True),
        "interactions without user id": (1, True),
        "interactions without item id": (1, True),
        "lines that are not UTF-8": (1, True),
        "people with fewer than 3 interactions": (1, True),
    }
    first = {problem.kind: problem.first for problem in report.problems}
    assert first["repeated interactions"].startswith("tiny.inter:13 repeats line 2: user 'u', item 'i0'")
    assert first["lines that are not UTF-8"] == "tiny.inter:22 is not UTF-8 (bytes e9 09 31 09)"
    assert first["values that are not a number"] == "tiny.item:26 has 'much' as price, declared float"
    assert dict(report.rows) == {
        "in the file": 20,
        "well formed": 15,
        "not repeated": 13,
        "with a known item": 12,
        "of people with 3 or more": 11,
    }
    assert not report.trainable
    assert report.statistics is not None
    assert "tiny.item:" in report.advice
    assert report.advice.endswith("All such rows can be left out with --drop-bad-rows.")
    log = folder.parent / "dropped.tsv"
    assert check_data(folder, drop_bad_rows=True, dropped_rows=log).trainable
    header, *dropped = [line.split("\t") for line in log.read_text(encoding="utf-8").splitlines()]
    assert header == ["file", "line", "kind", "why"]
    assert len(dropped) == sum(problem.count for problem in report.problems)
    assert ["tiny.inter", "16", "bad_times", "has 'soon' as timestamp, which is not a finite number."] in dropped
    assert ["tiny.inter", "22", "not_utf8", "is not UTF-8 (bytes e9 09 31 09)."] in dropped
    assert ["tiny.item", "26", "bad_values", "has 'much' as price, which is declared float."] in dropped
    assert read_atomic_files(folder, drop_bad_rows=True).catalogue.item("i30").attributes == {}


def test_what_can_be_dropped_is_trainable_only_when_it_is_dropped(write_atomic: WriteAtomic) -> None:
    rows = [*GOOD, "u\ti0\t1\t0", "u\tgone\t1\t9"]
    folder = write_atomic(inter=rows, items=ITEMS, item_header=ITEM_HEADER)
    strict = check_data(folder)
    assert not strict.trainable
    assert strict.advice.endswith("All such rows can be left out with --drop-bad-rows.")
    assert strict.statistics is not None
    assert strict.statistics.interactions == 11
    dropped = check_data(folder, drop_bad_rows=True)
    assert dropped.trainable
    assert problems(dropped) == problems(strict) != {}
    assert dropped.advice == f"Train on it: deeprec trm train --data {folder} --out ARTIFACT"


@pytest.mark.parametrize(
    ("rows", "items", "why"),
    [
        (GOOD, ITEMS[:19], "has 19 items where 20 are needed"),
        ([*walk("u", 0, 1, 2), *walk("v", 0, 1, 2)], ITEMS, "has no person with 4 interactions"),
    ],
)
def test_what_training_would_refuse_is_not_trainable(
    write_atomic: WriteAtomic, tmp_path: Path, rows: list[str], items: list[str], why: str
) -> None:
    pytest.importorskip("recbole", reason="needs the extra [trm]")
    folder = write_atomic(inter=rows, items=items, item_header=ITEM_HEADER)
    report = check_data(folder)
    assert not report.trainable
    assert why in report.advice
    with pytest.raises(DataError):
        train_trm(read_atomic_files(folder), tmp_path / "artifact", encoder=HashingEncoder(8))


def test_a_header_that_cannot_be_read_does_not_hide_the_other_file(write_atomic: WriteAtomic) -> None:
    folder = write_atomic(inter=[*GOOD, "u\ti0\t1"], items=b"item_id\ttitle\n")
    report = check_data(folder)
    assert problems(report) == {
        "files that cannot be read": (1, False),
        "lines with a wrong number of fields": (1, True),
    }
    assert "tiny.item:1 has the header field 'item_id'" in report.advice
    report = check_data(write_atomic(inter=b"", items=[*ITEMS, "short"], item_header=ITEM_HEADER))
    assert set(problems(report)) == {"files that cannot be read", "lines with a wrong number of fields"}
    assert not report.trainable
    report = check_data(write_atomic(inter=[], items=ITEMS, item_header=ITEM_HEADER))
    assert problems(report) == {"files without rows": (1, False)}
    assert not report.trainable


def test_columns_are_named_as_for_training(write_atomic: WriteAtomic) -> None:
    header = "who:token\titem_id:token\trating:float\twhen:float"
    folder = write_atomic(inter=GOOD, inter_header=header, items=ITEMS, item_header=ITEM_HEADER)
    assert not check_data(folder).trainable
    report = check_data(folder, columns=ColumnNames(user="who", time="when", text=("brand",)))
    assert report.trainable
    assert report.statistics is not None
    assert [attribute.name for attribute in report.statistics.attributes] == ["price", "tags"]


def test_items_without_attributes_or_titles_are_warned_about(write_atomic: WriteAtomic) -> None:
    folder = write_atomic(inter=GOOD, items=[f"i{n}" for n in range(22)], item_header="item_id:token")
    report = check_data(folder)
    assert report.trainable
    warnings = " ".join(report.warnings)
    assert "22 of 22 items have no title" in warnings
    assert "The items have no attributes" in warnings


def days(*numbers: float) -> tuple[int, ...]:
    """Days of January 2020 as seconds since 1970."""
    return tuple(int(1_577_836_800 + 86_400 * (number - 1)) for number in numbers)


@pytest.mark.parametrize(("factor", "unit"), [(1, "seconds"), (1000, "milliseconds"), (10**9, "nanoseconds")])
def test_the_time_range_is_shown_whatever_the_unit(write_atomic: WriteAtomic, factor: int, unit: str) -> None:
    times = tuple(time * factor for time in days(1, 1.5, 3, 10))
    report = check_data(write_atomic(inter=walk("u", 0, 1, 2, 3, times=times), items=ITEMS, item_header=ITEM_HEADER))
    assert report.statistics is not None
    found = report.statistics.times
    assert found is not None
    assert (found.first, found.last, found.unit) == ("2020-01-01 00:00", "2020-01-10 00:00", unit)
    assert (found.days, found.active_days, found.busiest_day) == (10, 3, "2020-01-01")
    assert (found.busiest_day_interactions, found.per_active_day) == (2, pytest.approx(4 / 3))
    assert sum(found.periods) == 4
    assert found.doubt is None
    assert sum(report.statistics.item_popularity) == 4


@pytest.mark.parametrize(
    ("times", "why"),
    [((3, 57, 1, 12), "look like counts, ratings or positions"), (days(1, 2, 3, 40_000), "1 of 4 time stamps lie in")],
)
def test_times_that_are_none_are_doubted(write_atomic: WriteAtomic, times: tuple[int, ...], why: str) -> None:
    report = check_data(write_atomic(inter=walk("u", 0, 1, 2, 3, times=times), items=ITEMS, item_header=ITEM_HEADER))
    assert any(why in warning for warning in report.warnings)


def test_units_that_are_mixed_are_warned_about(write_atomic: WriteAtomic) -> None:
    seconds = days(1, 2, 3, 4)
    rows = [*walk("u", 0, 1, 2, 3, times=seconds), *walk("v", 0, 1, 2, times=tuple(1000 * at for at in seconds[:3]))]
    report = check_data(write_atomic(inter=rows, items=ITEMS, item_header=ITEM_HEADER))
    assert any("mix units (4 in seconds, 3 in milliseconds)" in warning for warning in report.warnings)
    assert not any("look like counts" in warning for warning in report.warnings)


def test_ids_as_attributes_are_named_with_the_option_that_leaves_them_out(write_atomic: WriteAtomic) -> None:
    people = [f"i{n}	Thing {n}	{'uvw'[n % 3]}	{n % 2}" for n in range(22)]
    header = "item_id:token	title:token_seq	first_owner:token	vendor_id:token"
    warnings = " ".join(check_data(write_atomic(inter=GOOD, items=people, item_header=header)).warnings)
    assert "first_owner holds ids of people" in warnings
    assert "--attribute first_owner=ignore" in warnings
    assert "vendor_id looks like an id" in warnings


def test_keys_into_other_tables_are_no_text(write_atomic: WriteAtomic) -> None:
    rows = [f"i{n}	Thing {n}	tt{n:07}	A film about {n}" for n in range(22)]
    header = "item_id:token	title:token_seq	imdbId:token	plot:token_seq"
    data = check_data(write_atomic(inter=GOOD, items=rows, item_header=header)).statistics
    assert data is not None
    assert data.text_parts == ("the title", "plot")
    assert data.example_text == "Thing 11. A film about 11"
    assert (data.median_text, data.cut_texts) == (len(data.example_text), 0)


def test_a_folder_without_a_pair_of_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no .inter file"):
        check_data(tmp_path)
    with pytest.raises(DataError, match="nowhere does not exist"):
        check_data(tmp_path / "nowhere")


def test_a_generated_shop_is_called_synthetic(tmp_path: Path) -> None:
    generate_shop(tmp_path / "shop", ShopConfig(products=100, people=10))
    report = check_data(tmp_path / "shop")
    assert report.synthetic
    assert report.trainable
    assert report.warnings[0].startswith("The data is synthetic")


@pytest.mark.parametrize("seed", range(25))
def test_the_check_and_the_strict_reader_agree(write_atomic: WriteAtomic, seed: int) -> None:
    random = Random(seed)
    users = [f"u{random.randint(0, 9)}" for _ in range(50)]
    rows = [f"{user}\ti{random.randint(0, 24)}\t1\t{random.randint(0, 9)}" for user in users]
    items = list(ITEMS)
    for _ in range(random.randint(0, 2)):
        items.append(random.choice(["i0\tAgain\t\t\t\t", "i40\tNew\t\tmuch\t\t", "i41\tOdd", *ITEMS]))
        rows.append(random.choice(["u1\ti1\t1", "u1\ti1\t1\tsoon", "u2\t\t1\t1", "u3\tgone\t1\t1", rows[0]]))
    random.shuffle(rows)
    folder = write_atomic(inter=rows, items=items, item_header=ITEM_HEADER)
    report = check_data(folder)
    dropped: Counter[str] = Counter()
    try:
        read_atomic_files(folder)
        refused = False
    except DataError:
        refused = True
    assert refused == bool(report.problems)
    assert all(problem.droppable for problem in report.problems)
    dropped.update(read_atomic_files(folder, drop_bad_rows=True).dropped)
    assert sorted(dropped.values()) == sorted(problem.count for problem in report.problems)
    assert report.rows[-1][1] == read_atomic_files(folder, drop_bad_rows=True).interactions


@pytest.mark.slow
def test_the_embedded_data_checks_out() -> None:
    report = check_data(embedded_ml100k())
    data = report.statistics
    assert data is not None
    assert report.trainable
    assert not report.synthetic
    assert (data.users, data.items, data.interactions, data.tied_targets) == (943, 1682, 100_000, 415)
    assert (data.repeated_pairs, data.missing_titles, data.cold_test_targets) == (0, 0, 3)
