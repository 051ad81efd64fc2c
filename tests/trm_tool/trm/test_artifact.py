import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from deeprec.trm_tool import (
    Artifact,
    ArtifactError,
    Catalogue,
    ConfigError,
    Item,
    PreferenceAwareTRM,
    TRMConfig,
    load_artifact,
    save_artifact,
)

FILES = {
    "config.json",
    "model.safetensors",
    "items.parquet",
    "text_embeddings.safetensors",
    "metrics.json",
    "README.md",
}


@pytest.fixture
def folder(artifact_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny artifact that a test may damage."""
    return Path(shutil.copytree(artifact_folder, tmp_path / "artifact"))


def save_again(artifact: Artifact, folder: Path, **changes: object) -> None:
    arguments: dict[str, object] = {
        "encoder_id": artifact.config["encoder_id"],
        "text_embeddings": artifact.text_embeddings,
        "popularity": artifact.popularity,
        "dataset_fingerprint": artifact.config["dataset_fingerprint"],
        "holdout": artifact.config["holdout"],
        "metrics": {},
        "trust": artifact.config["trust"],
        "seed": artifact.config["seed"],
    }
    save_artifact(folder, artifact.model, artifact.catalogue, **(arguments | changes))  # type: ignore[arg-type]


def edit_config(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def edit_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_a_round_trip_is_bit_exact(folder: Path, tmp_path: Path) -> None:
    first = load_artifact(folder)
    save_again(first, tmp_path / "second")
    second = load_artifact(tmp_path / "second")
    assert {path.name for path in (tmp_path / "second").iterdir()} == FILES
    assert first.model.config == second.model.config
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])
    assert torch.equal(first.text_embeddings, second.text_embeddings)
    np.testing.assert_array_equal(first.popularity, second.popularity)
    assert list(first.catalogue) == list(second.catalogue)
    assert first.catalogue.attribute_kinds == second.catalogue.attribute_kinds
    rows = torch.tensor([[3, 1, 4, 1]])
    assert torch.equal(
        first.model.query(rows) @ first.model.item_vectors().T, second.model.query(rows) @ second.model.item_vectors().T
    )


def test_an_artifact_is_ready_to_serve(folder: Path) -> None:
    artifact = load_artifact(folder)
    assert not artifact.model.training
    assert not any(parameter.requires_grad for parameter in artifact.model.parameters())
    assert artifact.popularity.dtype == np.float64
    assert artifact.config["holdout"] == 2
    assert artifact.config["encoder_id"] == "hashing-32"


def test_loading_draws_no_random_numbers(folder: Path) -> None:
    before = torch.random.get_rng_state()
    load_artifact(folder)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_fingerprint_follows_the_content(folder: Path, tmp_path: Path) -> None:
    first = load_artifact(folder)
    assert len(first.fingerprint) == 16
    assert load_artifact(Path(shutil.copytree(folder, tmp_path / "copy"))).fingerprint == first.fingerprint
    save_again(first, tmp_path / "other", text_embeddings=first.text_embeddings + 1)
    assert load_artifact(tmp_path / "other").fingerprint != first.fingerprint


def test_metrics_and_card_are_for_people_and_may_be_missing(folder: Path) -> None:
    (folder / "metrics.json").unlink()
    (folder / "README.md").unlink()
    load_artifact(folder)


def test_the_card_says_what_was_measured(folder: Path, tmp_path: Path) -> None:
    measured = {"validation": {"masked": {"recall@10": 0.25, "ndcg@10": 0.125}}}
    save_again(load_artifact(folder), tmp_path / "mine", metrics=measured, dataset_name="tiny")
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "| masked | 0.2500 | 0.1250 |" in card
    assert 'Retriever.load("mine")' in card
    assert "without the last 2 items" in card
    assert json.loads((tmp_path / "mine" / "metrics.json").read_text()) == measured


@pytest.mark.slow
def test_loading_imports_neither_recbole_nor_the_compiler_of_torch(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from deeprec.trm_tool import load_artifact; "
        "load_artifact(Path(sys.argv[1])); print(*({'recbole', 'pandas', 'sympy', 'torch._dynamo'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


class Trap:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return exec, ("raise SystemExit('code of the artifact ran')",)


@pytest.mark.parametrize("name", ["model.safetensors", "text_embeddings.safetensors", "config.json", "items.parquet"])
def test_a_pickle_is_not_run(folder: Path, name: str) -> None:
    (folder / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ArtifactError, match=name):
        load_artifact(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "text_embeddings.safetensors", "config.json", "items.parquet"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "zeroed", "folder"])
def test_a_damaged_file_is_named(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        size = len(content) // 2
        changed = {"empty": b"", "cut": content[:size], "zeroed": bytes(len(content))}
        path.write_bytes(changed[damage])
    with pytest.raises(ArtifactError, match=name) as raised:
        load_artifact(folder)
    assert "\n" not in str(raised.value)


def test_one_flipped_bit_is_seen(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.safetensors is not the file that 'files'"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda config: config.pop("encoder_id"), "lacks the field 'encoder_id'"),
        (lambda config: config.update(items="50"), "'items' is '50', not of type int"),
        (lambda config: config.update(items=49), r"50 items; 'items' in config.json is 49"),
        (lambda config: config.update(items=0), "'items' is 0"),
        (lambda config: config.update(items=10**60), "a number of 61 digits, and 40 are read"),
        (lambda config: config.update(items=10**18), r"50 items; 'items' in config.json is 1000000000000000000"),
        (lambda config: config["architecture"].update(layers=10**12), "'architecture.layers' is 1000000000000"),
        (lambda config: config.update(holdout=True), "'holdout'"),
        (lambda config: config.update(trust=1.5), r"config.json: 'trust' is 1.5, outside 0 to 1"),
        (lambda config: config.update(trust=-0.1), "'trust' is -0.1, outside 0 to 1"),
        (lambda config: config.update(trust=float("nan")), "'trust' is nan, outside 0 to 1"),
        (lambda config: config.update(trust=float("inf")), "'trust' is inf, outside 0 to 1"),
        (
            lambda config: config.update(text_width=33),
            r"text_embeddings.safetensors: 'text_embeddings' is float32 \(50",
        ),
        (lambda config: config["architecture"].pop("heads"), "lacks the field 'architecture.heads'"),
        (lambda config: config["architecture"].update(width="16"), "'architecture.width' is '16'"),
        (lambda config: config["architecture"].update(width=17), "'architecture' cannot work"),
        (lambda config: config["architecture"].update(width=32), r"model.safetensors: 'id_embedding.weight'"),
        (lambda config: config["architecture"].update(width=10**6), r"model.safetensors: 'id_embedding.weight'"),
        (lambda config: config["architecture"].update(width=10**12), "'architecture' cannot work: Storage size"),
        (lambda config: config["architecture"].update(layers=2), r"model.safetensors lacks the tensor 'blocks.1"),
        (lambda config: config["architecture"].update(frequency_gate=False), "has a tensor 'frequency_gate"),
        (lambda config: config["architecture"].update(colour=1), "'architecture.colour' is not known"),
        (lambda config: config.update(format=1), "'format' is 1; this version of deeprec-agent reads 2"),
        (lambda config: config.update(format="1"), "'format' is '1'"),
        (lambda config: config["files"].pop("items.parquet"), "items.parquet is not the file"),
    ],
)
def test_a_field_that_does_not_fit_is_named(
    folder: Path, change: Callable[[dict[str, object]], object], why: str
) -> None:
    edit_config(folder, change)
    with pytest.raises(ArtifactError, match=why):
        load_artifact(folder)


def test_a_configuration_that_is_no_object_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("[1, 2]")
    with pytest.raises(ArtifactError, match=r"config\.json is not a JSON object"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "config.json is not JSON .its lists and objects are nested too deeply"),
        (" " * (16 * 2**20 + 1), "config.json is not JSON .it has over 16,777,216 bytes"),
        ('{"items": ' + "9" * 4000 + "}", "config.json is not JSON .it has a number of 4,000 digits"),
    ],
    ids=["deep", "long", "number"],
)
def test_a_configuration_beyond_the_bounds_is_refused(folder: Path, text: str, why: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ArtifactError, match=why):
        load_artifact(folder)


def test_items_that_unpack_to_too_much_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deeprec.trm_tool.catalogue.catalogue.MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(ArtifactError, match=r"items\.parquet has [\d,]+ bytes unpacked, and 1,000 are read"):
        load_artifact(folder)


def test_values_that_are_not_finite_are_refused(folder: Path) -> None:
    edit_tensors(folder / "model.safetensors", lambda tensors: tensors["id_embedding.weight"].fill_(float("nan")))
    with pytest.raises(ArtifactError, match=r"'id_embedding\.weight' holds values that are not finite"):
        load_artifact(folder)


def test_a_wrong_dtype_is_refused(folder: Path) -> None:
    edit_tensors(
        folder / "model.safetensors",
        lambda tensors: tensors.update({"popularity": tensors["popularity"].to(torch.float32)}),
    )
    with pytest.raises(ArtifactError, match=r"'popularity' is float32 \(50,\); .* ask for float64 \(50,\)"):
        load_artifact(folder)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        load_artifact(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="is a file"):
        load_artifact(tmp_path / "file")
    with pytest.raises(ArtifactError, match=r"config\.json is missing"):
        load_artifact(tmp_path)


def test_others_may_read_an_artifact(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}


def test_an_artifact_replaces_an_artifact(folder: Path) -> None:
    artifact = load_artifact(folder)
    save_again(artifact, folder, seed=99)
    assert load_artifact(folder).config["seed"] == 99
    assert {path.name for path in folder.iterdir()} == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["artifact"]  # no temporary folder stays


def test_an_artifact_with_something_beside_it_is_not_replaced(folder: Path) -> None:
    artifact = load_artifact(folder)
    for name in ("a.txt", "b.txt", "c\n.txt", "d.txt"):
        (folder / name).write_text("mine")
    with pytest.raises(
        ConfigError, match=r"an artifact: 'a\.txt', 'b\.txt', 'c \.txt' and 1 more\. Name a new"
    ) as raised:
        save_again(artifact, folder, seed=99)
    assert "\n" not in str(raised.value)
    assert load_artifact(folder).fingerprint == artifact.fingerprint
    assert (folder / "d.txt").read_text() == "mine"


@pytest.mark.parametrize("beside", ["tokenizer.json", "onnx/model.onnx", "README.md/notes", None])
def test_a_model_of_another_library_is_not_replaced(folder: Path, tmp_path: Path, beside: str | None) -> None:
    """Its folder has a config.json and a model.safetensors too."""
    other = tmp_path / "hf"
    other.mkdir()
    (other / "config.json").write_text('{"architectures": ["BertModel"], "model_type": "bert"}')
    (other / "model.safetensors").write_bytes(b"weights")
    if beside:
        (other / beside).parent.mkdir(exist_ok=True)
        (other / beside).write_text("{}")
    why = repr(beside.split("/")[0]) if beside else "its config.json is missing, or lacks one of format, architecture"
    with pytest.raises(ConfigError, match=f"holds something other than an artifact: {why}"):
        save_again(load_artifact(folder), other)
    assert (other / "model.safetensors").read_bytes() == b"weights"
    assert not beside or (other / beside).exists()


@pytest.mark.parametrize("config", ["", "[]", "[" * 100_000, '{"format": 2, "architecture": {}}', None])
def test_a_folder_whose_configuration_is_none_of_ours_is_not_replaced(folder: Path, config: str | None) -> None:
    artifact = load_artifact(folder)
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(config)
    with pytest.raises(ConfigError, match=r"its config\.json is missing, or lacks"):
        save_again(artifact, folder)
    assert (folder / "model.safetensors").exists()


def test_what_comes_into_the_folder_during_a_save_is_not_lost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact, to_parquet = load_artifact(folder), Catalogue.to_parquet

    def write_while_somebody_puts_a_file(catalogue: Catalogue, path: Path) -> None:
        (folder / "thesis.tex").write_text("years of work")
        to_parquet(catalogue, path)

    monkeypatch.setattr(Catalogue, "to_parquet", write_while_somebody_puts_a_file)
    with pytest.raises(ConfigError, match=r"'thesis\.tex'"):
        save_again(artifact, folder)
    assert (folder / "thesis.tex").read_text() == "years of work"


def test_a_link_stays_a_link_to_what_is_saved(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "latest"
    link.symlink_to(folder, target_is_directory=True)
    save_again(load_artifact(link), link, seed=99)
    assert link.is_symlink()
    assert load_artifact(folder).config["seed"] == 99
    assert 'Retriever.load("artifact")' in (folder / "README.md").read_text()


def test_the_current_working_folder_is_not_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match=r"is the current working folder.* Change to another folder first"):
        save_again(load_artifact(folder), Path())
    monkeypatch.chdir(folder.parent)
    save_again(load_artifact(folder), Path("artifact"), seed=99)
    assert load_artifact(folder).config["seed"] == 99


def test_a_disk_that_takes_no_more_is_a_config_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = load_artifact(folder)

    def write_to_a_full_disk(catalogue: Catalogue, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Catalogue, "to_parquet", write_to_a_full_disk)
    with pytest.raises(ConfigError, match="artifact cannot be written: No space left on device"):
        save_again(artifact, folder)
    assert load_artifact(folder).fingerprint == artifact.fingerprint


def test_a_folder_with_something_else_in_it_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    artifact = load_artifact(folder)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="something other than an artifact"):
        save_again(artifact, tmp_path / "home")
    with pytest.raises(ConfigError, match="is a file"):
        save_again(artifact, tmp_path / "home" / "thesis.tex")
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years of work"


def test_a_save_that_fails_leaves_what_was_there(folder: Path) -> None:
    artifact = load_artifact(folder)
    with pytest.raises(TypeError):
        save_again(artifact, folder, metrics={"cannot be written": object()})
    assert load_artifact(folder).fingerprint == artifact.fingerprint
    assert [path.name for path in folder.parent.iterdir()] == ["artifact"]


def test_ids_titles_and_attributes_survive_as_they_are(tmp_path: Path) -> None:
    items = [
        Item(id="NA", title="", text="é\t\n<|x|>", attributes={"price": 1.5, "tags": ("a b", "c"), "brand": "None"}),
        Item(id="0", title="日本", text="", attributes={}),
    ]
    catalogue = Catalogue(items, {"price": "number", "tags": "tags", "brand": "category"})
    texts = torch.zeros(2, 4)
    model = PreferenceAwareTRM(TRMConfig(width=8, inner=8, layers=1, experts=1, max_length=4), texts)
    save_artifact(
        tmp_path / "artifact",
        model,
        catalogue,
        encoder_id="hashing-4",
        text_embeddings=texts,
        popularity=np.zeros(2),
        dataset_fingerprint="",
        holdout=3,
        trust=0.25,
        metrics={},
        seed=0,
    )
    loaded = load_artifact(tmp_path / "artifact").catalogue
    assert list(loaded) == items
    assert loaded.ids == ("NA", "0")
