import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deeprec.trm_tool import (
    ArtifactError,
    ConfigError,
    DataError,
    Dataset,
    Retriever,
    UnknownItemError,
    write_preference_file,
)
from deeprec.trm_tool.data import Request, read_fold, split_requests, write_requests
from tests.trm_tool.cli.trm_command import refusal, run
from tests.written_rows import written

WriteAtomic = Callable[..., Path]


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands keep embeddings below the working folder; never below a user's."""
    monkeypatch.chdir(tmp_path)


def test_search_lists_ids_scores_and_titles(artifact_folder: Path, retriever: Retriever) -> None:
    result = run("search", artifact_folder, "--history", "900, 893", "--preference", "comedy", "-k", "3")
    assert result.exit_code == 0
    for item in retriever.retrieve(["900", "893"], "comedy", k=3):
        (line,) = [line for line in result.output.splitlines() if f" {item.id} " in line]
        assert f"{item.score:.4f}" in line
        assert retriever.catalogue.item(item.id).title in line


def test_describe_shows_what_items_can_be_asked_for_by(artifact_folder: Path) -> None:
    lines = run("describe", artifact_folder).output.splitlines()
    assert lines[0] == "50 items."
    assert "price: 5 to 29.5 (50 items)" in lines
    answer = json.loads(run("describe", artifact_folder, "--json", "--contains", "fo", "--limit", "1").stdout)
    assert answer["attributes"][0]["values"] == [["Fox", 13]]
    assert "Did you mean 'studio'" in str(refusal("describe", artifact_folder, "--attribute", "studios"))
    assert "nowhere does not exist" in str(refusal("describe", artifact_folder / "nowhere"))


def test_search_writes_json_for_machines(artifact_folder: Path, retriever: Retriever) -> None:
    where = '{"studio": {"in": ["Fox"]}, "colour": {"in": ["red"]}}'
    result = run("search", artifact_folder, "--json", "--where", where, "--exclude", "893", "--k", "50")
    answer = json.loads(result.stdout)
    assert answer["trm_fingerprint"] == retriever.fingerprint
    assert answer["unenforced"] == ["colour"]
    assert [item["rank"] for item in answer["items"]] == list(range(1, 13))
    assert "893" not in [item["item_id"] for item in answer["items"]]
    assert set(answer["items"][0]) == {"rank", "item_id", "score", "title", "attributes"}
    assert {item["attributes"]["studio"] for item in answer["items"]} == {"Fox"}
    assert answer["items"][0]["attributes"]["class"] == list(
        retriever.catalogue.item(answer["items"][0]["item_id"]).attributes["class"]
    )
    misspelt = json.loads(run("search", artifact_folder, "--json", "--where", '{"studio": {"in": ["Foxx"]}}').stdout)
    assert misspelt["items"] == []
    assert misspelt["unknown_values"] == [{"attribute": "studio", "value": "Foxx", "close": ["Fox", "Pixar", "A24"]}]


def test_search_says_what_it_could_not_hold_and_when_nothing_is_left(artifact_folder: Path) -> None:
    result = run("search", artifact_folder, "--where", '{"colour": {"in": ["red"]}}')
    note = "no such attribute: colour. It has release_year, class, studio, price."
    assert 0 < result.output.index(note) < result.output.index("Toy Story")  # before the table, not below it
    nothing = run("search", artifact_folder, "--where", '{"studio": {"in": ["Foxx\\u001b[2J"]}}')
    assert "No item is left" in nothing.output
    assert "No item has 'Foxx" in nothing.output
    assert "Did you mean 'Fox' or" in nothing.output
    assert "\x1b" not in nothing.output


def test_signals_are_written_and_order_searches_from_histories(
    artifact_folder: Path, atomic_folder: Path, tmp_path: Path
) -> None:
    out, asked = tmp_path / "shop.signals", ("search", artifact_folder, "--json", "-k", "50", "--history", "900,893")
    written = json.loads(run("signals", artifact_folder, "--data", atomic_folder, "--out", out, "--json").stdout)
    assert set(written["weights"]) == {"score", "rank", "together", "nearby", "next", "count", "recency"}
    assert f"--signals {out}" in run("signals", artifact_folder, "--data", atomic_folder, "--out", out).output
    plain, ordered = json.loads(run(*asked).stdout), json.loads(run(*asked, "--signals", out).stdout)
    assert plain["trm_fingerprint"] != ordered["trm_fingerprint"]
    before, after = ([item["item_id"] for item in each["items"]] for each in (plain, ordered))
    assert before != after
    assert sorted(before) == sorted(after)
    assert "Make the file again" in str(refusal(*asked, "--signals", artifact_folder / "model.safetensors"))
    weights = artifact_folder / "model.safetensors"
    held = weights.read_bytes()
    assert "holds no signals" in str(refusal("signals", artifact_folder, "--data", atomic_folder, "--out", weights))
    assert weights.read_bytes() == held


def test_search_diversifies_on_demand(artifact_folder: Path, retriever: Retriever) -> None:
    result = run("search", artifact_folder, "--history", "900", "-k", "5", "--diversity", "0.9", "--json")
    found = retriever.retrieve(["900"], k=5, diversity=0.9)
    assert [item["item_id"] for item in json.loads(result.stdout)["items"]] == [item.id for item in found]


def test_catalogue_text_cannot_write_to_the_terminal(
    artifact_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "deeprec.trm_tool.Catalogue.summary", lambda self, item_id, max_chars: "\x1b]0;x\x07[red]a[/red]"
    )
    result = run("search", artifact_folder, "-k", "1")
    assert "\x1b" not in result.output
    assert "[red]a[/red]" in result.output


def test_a_wrong_search_is_one_line(artifact_folder: Path, tmp_path: Path) -> None:
    assert isinstance(refusal("search", tmp_path / "none"), ArtifactError)
    unknown = refusal("search", artifact_folder, "--history", "900,Toy Story,\x1b[2J")
    assert isinstance(unknown, UnknownItemError)
    assert str(unknown).startswith(f"{artifact_folder}: Not in the catalogue: 'Toy Story', '\\x1b[2J'. It has 50 items")
    assert "'nope'" in str(refusal("search", artifact_folder, "--exclude", "nope"))
    assert "k is 0" in str(refusal("search", artifact_folder, "-k", "0"))
    assert "which is not JSON" in str(refusal("search", artifact_folder, "--where", "year > 1990"))
    assert "not a JSON object" in str(refusal("search", artifact_folder, "--where", "[1]"))
    assert "which is not JSON" in str(refusal("search", artifact_folder, "--where", "[" * 100_000))
    for bad, message in (
        ('{"price": {"min": NaN}}', "where.price.min is nan"),
        ('{"price": {"max": -Infinity}}', "where.price.max is -inf"),
        ('{"price": {"in": [Infinity]}}', "where.price.in is [inf]"),
        ('{"price": {"min": 2, "max": 1}}', "has min 2 above max 1"),
        ('{"class": {"in": []}}', "where.class.in is empty"),
        ('{"\\ud800": 1}', "is 1; use in"),
    ):
        assert message in str(refusal("search", artifact_folder, "--where", bad))
    assert "diversity is 1.5" in str(refusal("search", artifact_folder, "--diversity", "1.5"))
    assert "diversity is nan" in str(refusal("search", artifact_folder, "--diversity", "nan"))


def test_train_writes_an_artifact_that_search_reads(atomic_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "trm"
    result = run("train", "--data", atomic_folder, "--out", out, "--epochs", "1", "--encoder", "hashing-16")
    assert result.exit_code == 0, result.exception
    assert "tiny: 12 users, 50 items," in result.stderr
    assert "The last two time stamps of 4 users tie: file order decides." in result.stderr
    assert "Validation" in result.stdout
    assert f"deeprec trm search {out} --history" in result.stdout
    assert run("search", out, "--preference", "comedy").exit_code == 0


def test_train_takes_columns_drops_bad_rows_and_writes_json(write_atomic: WriteAtomic, tmp_path: Path) -> None:
    rows = [f"u{user}\ti{(user + step) % 25}\t{step}" for user in range(4) for step in range(5)]
    folder = write_atomic(
        inter=[*rows, rows[-1], "u9\ti1\t1"],
        inter_header="who:token\twhat:token\twhen:float",
        items=[f"i{number}\tFilm {number}\twords\t{number % 2}x" for number in range(25)],
        item_header="what:token\tlabel:token_seq\tblurb:token_seq\tside:token",
    )
    columns = ["--user-column", "who", "--item-column", "what", "--time-column", "when", "--title-column", "label"]
    options = [*columns, "--text-columns", "blurb", "--epochs", "1", "--encoder", "hashing-8", "--json"]
    out = tmp_path / "trm"
    assert "repeats line 21" in str(refusal("train", "--data", folder, "--out", out, *options))
    assert not out.exists()
    result = run("train", "--data", folder, "--out", out, *options, "--drop-bad-rows", "--seed", "5")
    assert result.exit_code == 0, result.exception
    answer = json.loads(result.stdout)
    assert answer["artifact"] == str(out)
    assert answer["dropped"] == {"duplicate_rows": 1, "short_users": 1}
    log = (tmp_path / "trm.dropped_rows.tsv").read_text(encoding="utf-8")
    assert "tiny.inter\t22\tduplicate_rows\trepeats line 21" in log
    assert "tiny.inter\t23\tshort_users\tbegins user 'u9'" in log
    assert "validation" in answer["metrics"]
    assert Retriever.load(out).catalogue.item("i0").text == "Film 0. 0x. words"


def test_a_wrong_training_is_one_line(atomic_folder: Path, tmp_path: Path) -> None:
    start = ["train", "--out", tmp_path / "trm", "--encoder", "hashing-8"]
    assert isinstance(refusal(*start, "--data", tmp_path / "none"), DataError)
    assert isinstance(refusal(*start, "--data", atomic_folder, "--user-column", "person"), DataError)
    for option, value in (("--epochs", 0), ("--holdout", 1), ("--seed", -1)):
        error = refusal(*start, "--data", atomic_folder, option, value)
        assert isinstance(error, ConfigError)
        assert str(error).startswith(f"{option[2:]} is {value}")


@pytest.mark.slow
def test_the_command_says_what_it_trains_on(dataset: Dataset, atomic_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("recbole", reason="needs the extra [trm]")
    file = tmp_path / "written.parquet"
    write_preference_file(file, [written(dataset), written(dataset, split="test")])
    start = ["train", "--data", str(atomic_folder), "--out", str(tmp_path / "trm"), "--encoder", "hashing-16"]
    start += ["--preferences", str(file), "--epochs", "1"]
    result = run(*start)
    assert "Training on 1 of 2 written preferences, at 1 position" in result.stderr
    assert "refused: 1 with a run of the test or validation split" in result.stderr
    answer = json.loads(run(*start, "--json").stdout)
    assert answer["metrics"]["written_preferences"]["used"] == 1
    for options, why in (
        (["--holdout", "3"], "None of 2 written preferences can be trained on with holdout 3"),
        (["--preferences", str(tmp_path / "absent")], "does not exist"),
    ):
        error = refusal(*start, *options)
        assert isinstance(error, DataError)
        assert why in str(error)


@pytest.mark.slow
def test_train_reads_what_people_asked_and_leaves_a_fold_out(dataset: Dataset, atomic_folder: Path) -> None:
    pytest.importorskip("recbole", reason="needs the extra [trm]")
    ids = dataset.catalogue.ids
    asked = [
        Request(conversation=f"c{number}", message="a film about bees", history=ids[5:7], targets=ids[:2])
        for number in range(30)
    ]
    write_requests(Path("asked.jsonl"), asked, catalogue=dataset.catalogue)
    settings = ("--data", atomic_folder, "--out", "artifact", "--encoder", "hashing-32", "--epochs", "1")
    result = run("train", *settings, "--requests", "asked.jsonl", "--without-fold", "1/3")
    assert result.exit_code == 0, result.output
    outside, inside = split_requests(asked, read_fold("1/3"))
    training, chosen = split_requests(outside, read_fold("1/10"))
    assert f"Training on {len(training)} of 30 requests, and {len(chosen)} that choose the epoch" in result.output
    assert f"(left out: {len(inside)} with a conversation of the fold that is left out)" in result.output
    assert f"only {2 * len(chosen)} held-out requests have both a history and words" in result.output  # two targets
    assert "leaves out conversations, and there are none" in str(refusal("train", *settings, "--without-fold", "1/3"))
    assert "such as 1/5" in str(refusal("train", *settings, "--requests", "asked.jsonl", "--without-fold", "4/3"))
