import json
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from deeprec.agent.cli.main import app
from deeprec.agent.cli.trace_options import to_json
from deeprec.agent.traces import RunOutcome, TraceStore
from deeprec.agent.views import compare_runs
from deeprec.trm_tool import Catalogue, DeepRecError
from tests.inspected_runs import RUN, made_run

OTHER = UUID("0c1e93aa-4d0b-4c5e-9f65-2b0c6b1f4a11")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    with TraceStore(path) as store:
        for trace in (made_run(), made_run({"run_id": OTHER, "seed": 8})):
            store.start_run(trace.run)
            for turn in trace.turns:
                store.record_turn(trace.run.run_id, turn)
            for retrieval in trace.retrievals:
                store.record_retrieval(trace.run.run_id, retrieval)
            outcome = RunOutcome(
                status="finished", written=trace.written, recommended=trace.recommended, ungrounded=1, latency_ms=9.0
            )
            store.finish_run(trace.run.run_id, outcome)
            store.write_rewards(trace.run.run_id, "paper", {"format": 1.0})
    return path


def run(path: Path, *words: str) -> str:
    environment = {"COLUMNS": "160", "DEEPREC_STORE": str(path)}
    result = CliRunner().invoke(app, ["traces", *words], catch_exceptions=False, env=environment)
    assert result.exit_code == 0, result.output
    return result.output


def test_html_writes_one_run_with_its_titles(
    path: Path, tmp_path: Path, artifact_folder: Path, catalogue: Catalogue
) -> None:
    out = tmp_path / "new" / "page.html"
    printed = run(path, "html", "7c1", "-o", str(out), "--artifact", str(artifact_folder))
    assert printed == f"Wrote 1 run to {out}.\n"
    page = out.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert f"r{RUN.hex}-turn-3" in page
    assert catalogue.item("851").title in page
    assert list(out.parent.iterdir()) == [out]
    (tmp_path / "plain").touch()
    assert out.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_html_writes_several_runs_and_over_an_older_page(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    run(path, "html", "7c1", "-o", str(out))
    printed = json.loads(run(path, "html", "7c1", "0c1", "7c1e", "-o", str(out), "--json"))
    assert printed == {"file": str(out), "runs": [str(RUN), str(OTHER)]}
    assert '<h1 class="title">2 runs</h1>' in out.read_text(encoding="utf-8")


def test_compare_in_the_terminal_as_json_and_as_a_page(path: Path, tmp_path: Path) -> None:
    assert "They went the same way" in run(path, "compare", "7c1", "0c1")
    printed = json.loads(run(path, "compare", "7c1", "0c1", "--json"))
    assert printed["setting"] == [{"name": "seed", "left": 7, "right": 8}]
    out = tmp_path / "compare.html"
    assert run(path, "compare", "7c1", "0c1", "-o", str(out)) == f"Wrote the comparison to {out}.\n"
    assert "Two runs, side by side" in out.read_text(encoding="utf-8")


def test_show_has_tokens_on_demand(path: Path) -> None:
    assert "probability:" not in run(path, "show", "7c1")
    page = run(path, "show", "7c1", "--tokens")
    assert "100 7 2" in page
    assert "least likely: '2' 1.8% at position 3" in page


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["html", "fff", "-o", "page.html"], "No run begins with"),
        (["html", "7c1", "-o", "."], "is a folder"),
        (["html", "7c1", "-o", "runs.db"], "is not an HTML page; nothing was overwritten"),
        (["html", "7c1", "-o", "runs.db/page.html"], "cannot be written"),
        (["html", "7c1", "-o", "page.html", "--tokenizer", "nowhere"], "nowhere is not a folder"),
        (["show", "7c1", "--tokens", "--tokenizer", "."], "no tokenizer that can be read"),
        (["compare", "7c1", "7c1e"], "Name two different ones"),
        (["compare", "7c1", "fff"], "No run begins with"),
        (["compare", "7c1", "0c1", "-o", "runs.db"], "nothing was overwritten"),
    ],
)
def test_a_mistake_is_one_clear_line(
    path: Path, command: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    before = path.read_bytes()
    with pytest.raises(DeepRecError, match=message) as caught:
        run(path, *command)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert not (path.parent / "page.html").exists()


def test_a_comparison_is_plain_json() -> None:
    two = compare_runs(made_run(), made_run({"run_id": OTHER, "seed": 8}))
    found = json.loads(json.dumps(to_json(two), allow_nan=False))
    assert found["setting"] == [{"name": "seed", "left": 7, "right": 8}]
    assert found["turns"][0]["left"]["thought"] == "Thought 1."
