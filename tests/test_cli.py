"""The command line as a user meets it: each mistake is one line on stderr and exit code 2, and the whole way works."""

import asyncio
import json
import shutil
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from deeprec.agent import turn_seed
from deeprec.agent.cli.main import main
from deeprec.trm_tool import ComplementarySignals, Dataset, SignalReranking
from tests.command_line import answer_of, refusal_of, run_command
from tests.model_scripts import tool_call
from tests.tiny_server import MODEL, TinyServer, serve_tiny

WriteAtomic = Callable[..., Path]


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to work in, and no settings from outside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("BASE_URL", "MODEL", "STORE", "API_KEY", "SERVER_PYTHON"):
        monkeypatch.delenv(f"DEEPREC_{name}", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that has to fail, and return its one line of error."""
    return partial(refusal_of, capsys)


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that has to succeed, and return what it writes to stdout."""
    return partial(answer_of, capsys)


Refusal = Callable[..., str]
Answer = Callable[..., str]

# What is wrong -> (the interaction file's rows, its header, what the line says).
HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
BAD_FILES: dict[str, tuple[list[str] | bytes, str, str]] = {
    "an empty file": (b"", HEADER, "is empty"),
    "a missing column": (["u0\t900\t1"], "user_id:token\titem_id:token\trating:float", "no time column"),
    "not UTF-8": (HEADER.encode() + b"\nu0\t\xe9\t1\t1\n", HEADER, "tiny.inter:2 is not UTF-8"),
    "a time stamp in words": (["u0\t900\t1\tyesterday"], HEADER, "'yesterday' as timestamp"),
    "a duplicate row": (["u0\t900\t1\t1"] * 2, HEADER, "tiny.inter:3 repeats line 2"),
    "an unknown item": (["u0\tnowhere\t1\t1"], HEADER, "names item 'nowhere'"),
    "a user with two": (["u0\t900\t1\t1", "u0\t893\t1\t2"], HEADER, "who has 2 interactions where 3 are needed"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_data_is_one_line(write_atomic: WriteAtomic, artifact_folder: Path, refusal: Refusal, case: str) -> None:
    rows, header, said = BAD_FILES[case]
    folder = write_atomic(inter=rows, inter_header=header)
    assert said in refusal("trm", "train", "--out", "trm", "--data", folder)
    assert said in refusal("recommend", "--user", "u0", "--data", folder, "--artifact", artifact_folder)
    assert not Path("trm").exists()


def test_a_missing_folder_of_data_is_one_line(refusal: Refusal, artifact_folder: Path) -> None:
    assert "nowhere does not exist" in refusal("trm", "train", "--out", "trm", "--data", "nowhere")
    assert "nowhere does not exist" in refusal("trm", "eval", artifact_folder, "--data", "nowhere")


def test_an_unknown_user_or_item_is_one_line(
    refusal: Refusal, answer: Answer, artifact_folder: Path, atomic_folder: Path
) -> None:
    start = ("recommend", "--artifact", artifact_folder)
    assert "No user 'nobody' in tiny" in refusal(*start, "--data", atomic_folder, "--user", "nobody")
    with serve_tiny() as server:
        asked = (*start, "--history", "900,nowhere", "--base-url", server.base_url, "--store", "traces.db")
        assert "nowhere" in refusal(*asked, "--strict-history")
        assert "The catalogue lacks 1 item of the history: nowhere." in answer(*asked)
    assert "--user ID" in refusal(*start)
    assert "nowhere" in refusal("trm", "search", artifact_folder, "--history", "nowhere")


@pytest.mark.parametrize("command", [("recommend", "--history", "900", "--artifact"), ("trm", "search")])
def test_an_artifact_that_is_missing_or_damaged_is_one_line(
    refusal: Refusal, artifact_folder: Path, command: tuple[str, ...]
) -> None:
    assert "nowhere does not exist" in refusal(*command, "nowhere")
    shutil.copytree(artifact_folder, "damaged")
    Path("damaged/model.safetensors").write_bytes(b"not a model")
    assert "model.safetensors is not a readable safetensors file" in refusal(*command, "damaged")
    Path("damaged/config.json").unlink()
    assert "config.json is missing" in refusal(*command, "damaged")


@pytest.mark.parametrize(
    "command", [("recommend", "--history", "900", "--artifact"), ("chat", "--artifact"), ("trm", "search")]
)
def test_signals_that_are_missing_or_another_artifacts_are_one_line(
    refusal: Refusal, artifact_folder: Path, dataset: Dataset, command: tuple[str, ...]
) -> None:
    assert "nowhere does not exist" in refusal(*command, artifact_folder, "--signals", "nowhere")
    of_all = ComplementarySignals.count(dataset, holdout=0)
    SignalReranking(of_all, [1.0] * 7).save("leaky.signals")
    printed = refusal(*command, artifact_folder, "--signals", "leaky.signals")
    assert "counts other interactions (holdout 0" in printed
    assert "`deeprec trm signals`" in printed


@pytest.mark.slow
def test_a_server_that_is_down_is_one_line(refusal: Refusal, artifact_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    printed = refusal("recommend", "--history", "900", "--artifact", artifact_folder, "--base-url", url)
    assert "deeprec llm serve" in printed


def test_a_model_that_the_server_lacks_is_one_line(refusal: Refusal, artifact_folder: Path, server: TinyServer) -> None:
    start = ("recommend", "--history", "900", "--artifact", artifact_folder, "--base-url", server.base_url)
    assert f"has no model 'gpt-9'; it has '{MODEL}'" in refusal(*start, "--model", "gpt-9")


@pytest.mark.parametrize("url", ["http://[", "http://host:port/v1", "http://host:99999/v1", "localhost:8000"])
def test_an_address_that_is_none_is_one_line(refusal: Refusal, artifact_folder: Path, url: str) -> None:
    printed = refusal("recommend", "--history", "900", "--artifact", artifact_folder, "--base-url", url)
    assert "write it as http://HOST:PORT/v1" in printed


def test_a_key_that_cannot_be_sent_is_one_line(
    refusal: Refusal, artifact_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPREC_API_KEY", "clé")
    assert "DEEPREC_API_KEY" in refusal("recommend", "--history", "900", "--artifact", artifact_folder)


@pytest.mark.parametrize("where", ["year > 1990", "[1]", '{"release_year": {"above": 1990}}'])
def test_a_condition_that_makes_no_sense_is_one_line(refusal: Refusal, artifact_folder: Path, where: str) -> None:
    refusal("trm", "search", artifact_folder, "--where", where)


def test_an_option_that_is_none_of_its_choices_says_so_alone(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run_command(capsys, "train", "score", "--preset", "papper")
    assert code == 2
    assert "Invalid value for '--preset': 'papper' is not one of 'outcome', 'paper'." in err


def test_a_missing_store_and_an_unknown_run_are_one_line(refusal: Refusal, answer: Answer) -> None:
    assert "There is no trace store" in refusal("traces", "ls", "--store", "nowhere.db")
    assert "There is no trace store" in refusal("traces", "show", "abc", "--store", "nowhere.db")
    from deeprec.agent import TraceStore

    TraceStore("traces.db").close()
    assert "No run begins with 'abc'" in refusal("traces", "show", "abc", "--store", "traces.db")
    assert "No run matches" in answer("traces", "ls", "--store", "traces.db")


def test_a_place_that_cannot_be_written_is_one_line(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("notes.txt").write_text("mine", encoding="utf-8")
    assert "cannot be written" in refusal("llm", "pull", "--out", "notes.txt/x")
    monkeypatch.setenv("DEEPREC_SERVER_PYTHON", "/bin/true")
    assert "has no vLLM" in refusal("llm", "serve", "--model", "org/model")
    monkeypatch.setenv("DEEPREC_SERVER_PYTHON", str(Path.cwd()))
    assert "is not an interpreter" in refusal("llm", "serve", "--model", "org/model", "--host", "127.0.0.1")


def test_a_path_that_fails_where_no_command_expects_it_is_one_line(
    refusal: Refusal, artifact_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: object, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("deeprec.trm_tool.Retriever.load", fail)
    assert f"{artifact_folder}: Permission denied." in refusal("trm", "search", artifact_folder)


@pytest.mark.parametrize(
    ("command", "seed"),
    [
        (command, seed)
        for command, largest in ((("recommend", "--history", ""), 2**53 - 1), (("trm", "eval", "nowhere"), 2**32 - 1))
        for seed in ("-1", str(largest + 1), "99999999999999999999")
    ],
)
def test_a_seed_out_of_range_is_refused(
    command: tuple[str, ...], seed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--seed", seed])
    assert ended.value.code == 2
    assert "--seed" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["tagged", "tools"])
def test_recommend_logs_a_run_that_traces_reads(
    answer: Answer, server: TinyServer, artifact_folder: Path, atomic_folder: Path, protocol: str
) -> None:
    start = ("recommend", "--artifact", artifact_folder, "--base-url", server.base_url, "--protocol", protocol)
    asked = ("--user", "u3", "--data", atomic_folder, "--k", 3, "--seed", 5, "--message", "something lighter")
    if protocol == "tools":
        server.script = [
            tool_call("retrieve_items", preference="comedy"),
            tool_call("recommend_items", numbers=[2, 1, 3]),
        ]
    output = json.loads(answer(*start, *asked, "--json"))
    assert [place["rank"] for place in output["recommendations"]] == [1, 2, 3]
    assert all(place["attributes"]["class"] for place in output["recommendations"])
    asked_guided = [request for request in server.requests if "structured_outputs" in request]
    assert bool(asked_guided) == (protocol == "tagged")
    if protocol == "tools":
        assert output["status"] == "finished"
        chats = [request for request in server.requests if request["path"] == "/v1/chat/completions"]
        assert [request["seed"] for request in chats] == [turn_seed(5, 0), turn_seed(5, 1)]
        assert not any("logprobs" in request for request in chats)  # not every server takes the question

    [listed] = json.loads(answer("traces", "ls", "--json"))
    assert (listed["run_id"], listed["user_id"]) == (output["run_id"], "u3")
    assert listed["guided"] == (protocol == "tagged")
    shown = json.loads(answer("traces", "show", output["run_id"][:8], "--json"))
    assert [line["item_id"] for line in shown["recommended"]] == [r["item_id"] for r in output["recommendations"]]
    assert shown["run"]["message"] == "something lighter"
    page = answer("traces", "show", output["run_id"], "--artifact", artifact_folder)
    assert output["recommendations"][0]["title"] in page
    assert output["run_id"][:8] in answer("traces", "ls")


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["tagged", "tools"])
def test_a_run_is_forked_and_replayed(
    answer: Answer, refusal: Refusal, server: TinyServer, artifact_folder: Path, protocol: str
) -> None:
    live = ("--artifact", artifact_folder, "--base-url", server.base_url)
    if protocol == "tools":
        server.script = [
            tool_call("retrieve_items", preference="comedy"),
            tool_call("recommend_items", numbers=[2, 1, 3]),
        ]
    asked = ("--history", "900,893", "--seed", 5, "--protocol", protocol, "--temperature", 0.7)
    run_id = json.loads(answer("recommend", *live, *asked, "--json"))["run_id"]
    if protocol == "tools":
        server.script = [tool_call("recommend_items", numbers=[3])]
    fork = ("traces", "fork", run_id[:8], *live, "--preference", "quiet films")
    result = json.loads(answer(*fork, "--turn", 1, "--json"))
    assert result["run"]["run"]["fork"] == {"turn": 0, "preference": "quiet films"}
    assert (result["is_same"], result["comparison"]["first_turn"]) == (False, 0)
    assert result["run"]["turns"][0]["logprobs"] == [None] * len(result["run"]["turns"][0]["completion_ids"])
    if protocol == "tools":
        server.script = [
            tool_call("retrieve_items", preference="comedy"),
            tool_call("recommend_items", numbers=[2, 1, 3]),
        ]
    page = answer("traces", "replay", run_id, *live)
    assert "They went the same way" in page
    assert len(json.loads(answer("traces", "ls", "--json"))) == 3
    assert "no turn 99" in refusal(*fork, "--turn", 99)
    assert "the preference is empty" in refusal(*fork[:-1], "", "--turn", 1)
    assert "No run begins with" in refusal("traces", "replay", "ffffffff", *live)
    assert f"has no model 'gpt-9'; it has '{MODEL}'" in refusal(*fork, "--turn", 1, "--model", "gpt-9")


@pytest.mark.slow
def test_a_run_with_signals_is_replayed_with_them(
    answer: Answer, refusal: Refusal, server: TinyServer, artifact_folder: Path, atomic_folder: Path
) -> None:
    answer("trm", "signals", artifact_folder, "--data", atomic_folder, "--out", "shop.signals")
    live = ("--artifact", artifact_folder, "--base-url", server.base_url)
    asked = ("--history", "900,893,886", "--seed", 5)
    run_id = json.loads(answer("recommend", *live, "--signals", "shop.signals", *asked, "--json"))["run_id"]
    assert "own artifact and signals" in refusal("traces", "replay", run_id, *live)
    assert "They went the same way" in answer("traces", "replay", run_id, *live, "--signals", "shop.signals")


@pytest.mark.slow
def test_recommend_lists_for_people(answer: Answer, server: TinyServer, artifact_folder: Path) -> None:
    page = answer("recommend", "--artifact", artifact_folder, "--base-url", server.base_url, "--history", "900, 893")
    assert "deeprec traces show" in page


def test_the_embedded_data_is_not_taken_for_another_recommenders(
    refusal: Refusal, artifact_folder: Path, monkeypatch: pytest.MonkeyPatch, write_atomic: WriteAtomic
) -> None:
    embedded = write_atomic(inter=[f"1\t{900 - 7 * row}\t1\t{row}" for row in range(4)])
    monkeypatch.setattr("deeprec.trm_tool.data.atomic_files.embedded_ml100k", lambda: embedded)
    printed = refusal("recommend", "--user", "1", "--artifact", artifact_folder)
    assert "was not trained on the embedded tiny" in printed
    assert "--data" in printed


@pytest.mark.slow
def test_other_data_is_refused_only_where_the_recommender_lacks_its_items(
    refusal: Refusal,
    server: TinyServer,
    artifact_folder: Path,
    write_atomic: WriteAtomic,
    capsys: pytest.CaptureFixture[str],
) -> None:
    start = ("recommend", "--user", "1", "--artifact", artifact_folder, "--base-url", server.base_url)
    items = ["900\tA\t\t\t\t1", "893\tB\t\t\t\t1", "new\tC\t\t\t\t1"]
    folder = write_atomic(inter=["1\t900\t1\t1", "1\t893\t1\t2", "1\tnew\t1\t3", "1\tnew\t1\t3"], items=items)
    assert "repeats line 4" in refusal(*start, "--data", folder)
    printed = refusal(*start, "--data", folder, "--drop-bad-rows")
    assert "1 items that" in printed
    assert "such as 'new'" in printed
    write_atomic(
        inter=[f"1\t{900 - 7 * row}\t1\t{row}" for row in range(4)],
        inter_header="who:token\titem_id:token\trating:float\ttimestamp:float",
    )
    with pytest.raises(SystemExit) as ended:
        main([*map(str, start), "--data", str(folder), "--user-column", "who", "--json"])
    output = capsys.readouterr()
    assert ended.value.code == 0, output.err
    assert output.err.splitlines() == [
        f"Note: {artifact_folder} was trained on other data than tiny, but knows these items."
    ]
    assert json.loads(output.out)["recommendations"]


def test_sigterm_ends_a_command_as_ctrl_c_does(monkeypatch: pytest.MonkeyPatch) -> None:
    async def runs() -> None:
        try:
            await asyncio.sleep(0)
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            closed.append("closed")
            raise

    closed: list[str] = []
    monkeypatch.setattr("deeprec.agent.cli.traces.TraceStore", lambda *_, **__: asyncio.run(runs()))
    before, interrupt = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(SystemExit) as ended:
            main(["traces", "ls"])
    finally:
        signal.signal(signal.SIGINT, interrupt)
    assert (ended.value.code, closed) == (143, ["closed"])
    assert signal.getsignal(signal.SIGTERM) is before
