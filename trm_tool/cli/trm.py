"""`deeprec trm`: train the recommender and search with it."""

import json
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deeprec.trm_tool.cli.item_ids import IDS_HELP, read_ids, show_ids
from deeprec.trm_tool.cli.items import app as items_app
from deeprec.trm_tool.cli.option_groups import option_groups
from deeprec.trm_tool.cli.options import (
    DEFAULT_ARTIFACT,
    DEFAULT_CACHE,
    ArtifactArgument,
    ColumnOptions,
    DataOption,
    JsonOption,
    SignalsOption,
    WhereOption,
    is_there,
    read_where,
)
from deeprec.trm_tool.errors import ConfigError, UnknownItemError
from deeprec.trm_tool.progress import training_bar
from deeprec.trm_tool.text import plain

if TYPE_CHECKING:
    from deeprec.trm_tool.data.dataset import Dataset
    from deeprec.trm_tool.recommender import Recommender, Retrieved


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(items_app, name="items")


@app.callback()
def _group() -> None:
    """Train, evaluate and search the preference-aware recommender."""


@app.command()
@option_groups
def train(
    out: Annotated[Path, typer.Option(help="Folder of the artifact; one that is there is replaced.")],
    data: DataOption = None,
    holdout: Annotated[
        int, typer.Option(help="Last items of each person that training never sees: 2, or 3 to collect rollouts.")
    ] = 2,
    without_last: Annotated[
        int, typer.Option(min=0, help="Train as before each person's last N interactions: for `trm eval --positions`.")
    ] = 0,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data, at most.", show_default="28")] = None,
    preferences: Annotated[
        Path | None,
        typer.Option(
            help="Train on preferences of logged runs too: a file from `deeprec traces export`.", callback=is_there
        ),
    ] = None,
    requests: Annotated[
        Path | None,
        typer.Option(
            help="Train on what people asked and took too: a file from `deeprec data import-requests`.",
            callback=is_there,
        ),
    ] = None,
    without_fold: Annotated[
        str | None,
        typer.Option(help="Leave out the conversations of this fold, such as 1/5: for `trm eval --requests`."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, batches and preference texts.")] = 0,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Text encoder: a sentence-transformers id or folder, hashing-32, or use-multilingual-3.",
            show_default="MiniLM",
        ),
    ] = None,
    columns: ColumnOptions = ColumnOptions(),
    cache: Annotated[
        Path, typer.Option(help="Folder that keeps text embeddings; delete it to forget them.")
    ] = DEFAULT_CACHE,
    as_json: JsonOption = False,
) -> None:
    """Train the recommender through RecBole and write its artifact."""
    from deeprec.trm_tool.data.preference_file import read_preference_file
    from deeprec.trm_tool.data.requests.folds import read_fold
    from deeprec.trm_tool.data.requests.request_file import read_requests
    from deeprec.trm_tool.encoders.text_encoder import make_encoder
    from deeprec.trm_tool.trm.training.request_examples import collect_requests
    from deeprec.trm_tool.trm.training.train import DEFAULT_EPOCHS, train_trm
    from deeprec.trm_tool.trm.training.written_preferences import collect_training_texts

    dropped = columns.dropped_file(out.resolve().with_name(f"{out.resolve().name}.dropped_rows.tsv"))
    dataset = columns.read(data, dropped)
    notes = Console(stderr=True, quiet=as_json)
    for line in _described(dataset):
        notes.print(Text(line))
    if dataset.dropped:
        notes.print(Text(f"Each of these is in {dropped} with its line and the reason."), soft_wrap=True)
    if preferences is not None:
        used = collect_training_texts(dataset, holdout + without_last, read_preference_file(preferences))
        notes.print(Text(f"Training on {used}."), soft_wrap=True)
    fold = None if without_fold is None else read_fold(without_fold)
    if fold is not None and requests is None:
        raise ConfigError(f"--without-fold {fold} leaves out conversations, and there are none. Give --requests FILE.")
    if requests is not None:
        asked = collect_requests(
            dataset,
            holdout + without_last,
            read_requests(requests, catalogue=dataset.catalogue),
            without_fold=fold,
        )
        notes.print(Text(f"Training on {asked}."), soft_wrap=True)
    with training_bar(notes) as show:
        metrics = train_trm(
            dataset,
            out,
            encoder=make_encoder(encoder),
            cache=cache,
            epochs=DEFAULT_EPOCHS if epochs is None else epochs,
            holdout=holdout,
            without_last=without_last,
            written=None if preferences is None else read_preference_file(preferences),
            requests=None if requests is None else read_requests(requests, catalogue=dataset.catalogue),
            without_fold=fold,
            seed=seed,
            on_progress=show,
        )
    if as_json:
        print(json.dumps({"artifact": str(out), "dropped": dataset.dropped, "metrics": metrics}, indent=2))
        return
    console = Console()
    table = Table("measure", "value", title="Validation", title_justify="left")
    words = metrics.get("requests", {}).pop("trust", None)
    for name, value in _flat({name: value for name, value in metrics.items() if name != "trust"}):
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    console.print(table)
    for line in (*_trust_lines(metrics["trust"]), *_words_lines(words)):
        console.print(Text(line), soft_wrap=True)
    command = f"deeprec trm search {quote(str(out))} {show_ids('--history', dataset.history(dataset.users[0])[-3:])}"
    console.print(Text(f"Wrote {out}. Search with it: {command}"), soft_wrap=True)


@app.command()
def search(
    artifact: ArtifactArgument = DEFAULT_ARTIFACT,
    history: Annotated[list[str] | None, typer.Option(help=f"{IDS_HELP}. The latest last.")] = None,
    preference: Annotated[str | None, typer.Option(help='The preference in words: "comedy; 1990s".')] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="Items to list.")] = 10,
    trust: Annotated[
        float | None,
        typer.Option(help="Weight of the preference beside the history, 0 to 1.", show_default="the artifact's"),
    ] = None,
    words: Annotated[str | None, typer.Option(help="What the person wrote, beside the preference.")] = None,
    words_trust: Annotated[
        float | None, typer.Option(help="Weight of the words, 0 to 1.", show_default="the artifact's")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help=f"What must not come back. {IDS_HELP}.")] = None,
    where: WhereOption = None,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Let items of the history come back.")] = False,
    diversity: Annotated[
        float, typer.Option(help="How much to avoid items that are similar to those above them, 0 to 1; 0 is off.")
    ] = 0.0,
    signals: SignalsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the items that fit a history and a preference best; with neither, the most popular ones."""
    conditions = read_where(where)
    from deeprec.trm_tool.trm.retriever import Retriever

    retriever = Retriever.load(artifact, reranking=signals)
    try:
        found = retriever.retrieve(
            read_ids(history, retriever.catalogue),
            preference,
            k=k,
            trust=trust,
            words=words,
            words_trust=words_trust,
            exclude=read_ids(exclude, retriever.catalogue),
            where=conditions,
            include_seen=include_seen,
            diversity=diversity,
            strict=True,
        )
    except UnknownItemError as error:
        raise UnknownItemError(f"{artifact}: {error}") from None
    if as_json:
        print(json.dumps(_as_dict(retriever, found), indent=2))
        return
    console = Console()
    for note in _unenforced(retriever, found):
        console.print(Text(note))
    table = Table("", "id", "score", "item")
    for rank, item in enumerate(found, start=1):
        # Catalogue text is data: no markup and no control codes of it reach the terminal.
        summary = plain(retriever.catalogue.summary(item.id, 100), 100)
        table.add_row(str(rank), Text(plain(item.id, 40)), f"{item.score:.4f}", Text(summary))
    console.print(table if found else Text("No item is left: the history and the constraints rule all of them out."))


@app.command()
@option_groups
def signals(
    out: Annotated[Path, typer.Option(help="The file of the signals; one that is there is replaced.")],
    artifact: ArtifactArgument = DEFAULT_ARTIFACT,
    data: DataOption = None,
    columns: ColumnOptions = ColumnOptions(),
    as_json: JsonOption = False,
) -> None:
    """Count what people chose together, next and lately, to order lists from histories again."""
    from deeprec.trm_tool.signals.reranking import FEATURES, fit_reranking
    from deeprec.trm_tool.trm.retriever import Retriever

    dataset = columns.read(data, columns.dropped_file(out.resolve().with_name(f"{out.name}.dropped_rows.tsv")))
    reranking = fit_reranking(Retriever.load(artifact), dataset)
    reranking.save(out)
    weights = dict(zip(FEATURES, reranking.weights, strict=True))
    if as_json:
        print(json.dumps({"signals": str(out), "fingerprint": reranking.fingerprint, "weights": weights}, indent=2))
        return
    console = Console()
    console.print(
        Text("Weights: " + ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items()) + "."), soft_wrap=True
    )
    command = f"deeprec trm search {quote(str(artifact))} --signals {quote(str(out))}"
    command += f" {show_ids('--history', dataset.history(dataset.users[0])[-3:])}"
    console.print(Text(f"Wrote {out}. Search with it: {command}"), soft_wrap=True)


@app.command()
def describe(
    artifact: ArtifactArgument = DEFAULT_ARTIFACT,
    attribute: Annotated[str | None, typer.Option(help="Describe this attribute alone.", show_default="all")] = None,
    contains: Annotated[str | None, typer.Option(help="List the values that contain this text.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Values of an attribute, at most.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show what the items can be asked for by: attributes, ranges, and the values that most items have."""
    from deeprec.trm_tool.catalogue.card import describe_catalogue
    from deeprec.trm_tool.catalogue.catalogue import Catalogue
    from deeprec.trm_tool.trm.artifact_folder import ITEMS

    card = describe_catalogue(Catalogue.from_parquet(artifact / ITEMS))
    card = card.select(attribute=attribute, contains=contains, limit=limit)
    if as_json:
        print(json.dumps(asdict(card), indent=2))
        return
    console = Console()
    console.print(Text(f"{card.items:,} items."))
    for described in card.attributes:
        console.print(Text(f"{described.line(max_chars=60 * limit)} ({described.items:,} items)"), soft_wrap=True)
    if not card.attributes:
        console.print(Text("No value contains this text." if contains else "The items have no attributes."))


def _unenforced(recommender: "Recommender", found: "Retrieved") -> list[str]:
    notes = []
    if found.unenforced:
        known = ", ".join(recommender.catalogue.attribute_kinds) or "none"
        names = ", ".join(found.unenforced)
        notes.append(f"Not enforced, since the catalogue has no such attribute: {names}. It has {known}.")
    for unknown in found.unknown_values:
        close = f" Did you mean {' or '.join(map(repr, unknown.close))}?" if unknown.close else ""
        notes.append(f"No item has {unknown.value!r} as {unknown.attribute}.{close}")
    return [plain(note, 500) for note in notes]


def _as_dict(recommender: "Recommender", found: "Retrieved") -> dict[str, Any]:
    return {
        "trm_fingerprint": recommender.identity.fingerprint,
        "items": [
            {
                "rank": rank,
                "item_id": item.id,
                "score": item.score,
                "title": recommender.catalogue.item(item.id).title,
                "attributes": dict(recommender.catalogue.item(item.id).attributes),
            }
            for rank, item in enumerate(found, start=1)
        ],
        "unenforced": list(found.unenforced),
        "unknown_values": [asdict(unknown) for unknown in found.unknown_values],
    }


def _described(dataset: "Dataset") -> list[str]:
    catalogue = dataset.catalogue
    attributes = ", ".join(f"{name} ({kind})" for name, kind in catalogue.attribute_kinds.items()) or "none"
    lines = [
        f"{dataset.name}: {len(dataset.users)} users, {len(catalogue)} items, {dataset.interactions} interactions.",
        f"Attributes of items: {plain(attributes, 500)}.",
    ]
    if dataset.tied_targets:
        lines.append(f"The last two time stamps of {dataset.tied_targets} users tie: file order decides.")
    if dataset.dropped:
        lines.append("Left out: " + ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in dataset.dropped.items()))
    return lines


def _trust_lines(curve: dict[str, Any]) -> list[str]:
    """The effect of preferences on validation at the chosen trust, with a warning where they have none."""
    at = curve["trusts"].index(curve["chosen"])
    figures = ", ".join(f"{kind} {values[at]:.3f}" for kind, values in curve["recall_at_10"].items())
    without = next(iter(curve["recall_at_10"].values()))[0]
    lines = [f"Trust in a preference: {curve['chosen']:g}. Recall@10 by preference: none {without:.3f}, {figures}."]
    if curve["recall_at_10"]["exact"][at] < 1.1 * without:
        lines.append(
            "Preferences hardly change its answers: with all phrases of the target it finds little more. Constraints "
            "(--where) still hold; preferences need more people, or items with distinctive attributes."
        )
    return lines


def _words_lines(found: dict[str, Any] | None) -> list[str]:
    """The effect of words on held-out requests at the chosen trust."""
    if found is None:
        return []
    if not found["recall_at_10"]:
        return [
            f"Trust in words: {found['chosen']:g}, as in a preference: only {found['requests']} held-out requests have "
            "both a history and words."
        ]
    both = found["recall_at_10"][found["trusts"].index(found["chosen"])]
    return [
        f"Trust in words: {found['chosen']:g}. Recall@10 of {found['requests']} held-out requests: history alone "
        f"{found['recall_at_10'][0]:.3f}, words alone {found['words_alone']:.3f}, both {both:.3f}."
    ]


def _flat(metrics: dict[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in metrics.items():
        rows.extend(_flat(value, f"{prefix}{name} ") if isinstance(value, dict) else [(prefix + name, value)])
    return rows
