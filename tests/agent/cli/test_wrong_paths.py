"""A wrong path of a command is refused before torch, transformers and langgraph are imported, which takes seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = """
chat --artifact MISSING
chat --artifact EMPTY
chat --user 1 --artifact ARTIFACT --data MISSING
ui --artifact MISSING
recommend --user 1 --artifact MISSING
recommend --user 1 --artifact ARTIFACT --data MISSING
traces replay 1 --artifact MISSING
trm search MISSING
trm search ARTIFACT --signals MISSING
trm train --data MISSING --out OUT
trm train --requests MISSING --out OUT
trm train --preferences MISSING --out OUT
trm signals MISSING --out OUT
chat --artifact ARTIFACT --signals MISSING
trm items add MISSING MISSING
trm eval MISSING
trm eval ARTIFACT --requests MISSING
eval run smoke --artifact MISSING
eval run MISSING --artifact ARTIFACT
eval converse --artifact MISSING
train loop MISSING --out OUT
train loop LOOP --out OUT
train check MISSING
train check --data MISSING STORE
train score --artifact MISSING STORE
train score --artifact ARTIFACT MISSING
train sft --store MISSING --out OUT
train grpo --store STORE --start MISSING --out OUT
train dpo --store MISSING --out OUT
train pairs --store MISSING
train export --for verl --store MISSING --out OUT
train knowledge --data MISSING
train feedback --data MISSING --out OUT
train demonstrations --requests MISSING --artifact ARTIFACT
train demonstrations --requests STORE --artifact MISSING
"""
RUN_ALL = """
import sys
from deeprec.agent.cli.main import main
for line in sys.stdin.read().strip().splitlines():
    print(f"$ {line}", file=sys.stderr)
    try:
        main(line.split())
    except SystemExit as ending:
        print(ending.code)
    heavy = [name for name in ("torch", "transformers", "langgraph", "recbole", "trl") if name in sys.modules]
    if heavy:
        sys.exit(f"imported: {heavy}")
"""


@pytest.mark.slow
def test_wrong_paths_are_refused_before_heavy_imports(tmp_path: Path) -> None:
    empty, artifact, store, loop = (tmp_path / name for name in ("empty", "artifact", "traces.db", "loop.yaml"))
    empty.mkdir()
    artifact.mkdir()
    (artifact / "config.json").write_text("{}")
    store.touch()
    loop.write_text(
        "name: small\ndata: ml-100k\nartifact: missing\nagent: {}\n"
        "stages: [{stage: interaction, steps: 1, users: 2, group_size: 2}]\nvalidation: {users: 2, every: 1}\n"
    )
    places = {"MISSING": "missing", "EMPTY": "empty", "ARTIFACT": "artifact", "STORE": "traces.db", "LOOP": "loop.yaml"}
    commands = COMMANDS.strip()
    for word, name in (places | {"OUT": "out"}).items():
        commands = commands.replace(word, str(tmp_path / name))
    ran = subprocess.run([sys.executable, "-c", RUN_ALL], input=commands, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.split() == ["2"] * len(commands.splitlines()), ran.stderr
    assert ran.stderr.count("error: ") == len(commands.splitlines())
    assert f"deeprec trm train --out {tmp_path / 'missing'} --holdout 3" in ran.stderr.replace("\n", " ")
