"""Figures of the shipped adapter, one search each: `python -m tools.listening.measure OUT.json ADAPTER`.

For each request the phrases on offer are those of the agent. What is compared are the phrases that are sent to the
recommender beside the person's words: none, those nearest by the encoder, those of a logistic regression on the
encoder's vectors that was trained on the adapter's examples, those of the adapter, and those that the message says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from deeprec.agent import Prompts
from deeprec.agent.graph.offered_phrases import MAX_OFFERED, common_phrases, offered_phrases, phrases_of_message
from deeprec.agent.protocols.tags import BEGIN_PREFERENCE, END_PREFERENCE
from deeprec.agent.serving.local_adapters import LoraSwitch, read_adapter
from deeprec.agent.serving.smollm2 import EMBEDDED_MODEL
from deeprec.trm_tool import (
    Query,
    Retriever,
    describe_catalogue,
    embedded_ml100k,
    make_encoder,
    neutralise,
    read_atomic_files,
)
from deeprec.trm_tool.catalogue.phrase_spotting import PhraseSpotter
from deeprec.trm_tool.catalogue.where_text import preference_segments
from deeprec.trm_tool.data import MadeRequestConfig, RequestMaker, Said
from deeprec.trm_tool.encoders.text_encoder import Encoder
from tools.listening.build import CATALOGUES, VALIDATION
from tools.listening.catalogue_file import read_catalogue_file
from tools.listening.examples import number_ranges, ranked_phrases
from tools.listening.made_catalogues import read_made_catalogue

HELD_OUT = Path(__file__).parent / "held_out"
_TITLES, _BATCH, _MOST_TOKENS, _RESAMPLES = 5, 16, 48, 2_000
_NEGATIVES = 0.2
"""Share of the pairs that do not belong together which the regression is fitted on."""


class Case:
    """One message, what is on offer for it, and what it says."""

    def __init__(
        self,
        message: str,
        offered: Sequence[str],
        said: Said,
        *,
        titles: Sequence[str] = (),
        numbers: Sequence[str] = (),
        history: Sequence[str] = (),
        target: str | None = None,
    ) -> None:
        self.message, self.offered, self.said, self.titles = message, list(offered), said, list(titles)
        self.numbers, self.history, self.target = list(numbers), list(history), target

    def meant(self) -> set[str]:
        """The segments of the preference that the message means."""
        return {
            *self.said.wanted,
            *(f"not {phrase}" for phrase in self.said.unwanted),
            *preference_segments(self.said.where or {}),
        }


def ml100k_cases(retriever: Retriever) -> list[Case]:
    """The requests of the test people of ml-100k, made in test words."""
    data = read_atomic_files(embedded_ml100k())
    made = RequestMaker(data, MadeRequestConfig(words="test", split="test", second_wishes=0.0)).make()
    return [_case(retriever, r.message, r.said[0], r.history, r.targets[0]) for r in made if r.said]


def blind_cases(retriever: Retriever, path: Path) -> list[Case]:
    """Requests that were written blind, a JSON line each with `user`, `target`, `message` and `said`."""
    data = read_atomic_files(embedded_ml100k())
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        _case(retriever, row["message"], Said(wanted=row["said"]), data.sequences[row["user"]][:-1], row["target"])
        for row in rows
    ]


def held_out_cases(path: Path, encoder: Encoder) -> list[Case]:
    """The written requests of a catalogue that training never read."""
    catalogue = read_catalogue_file(path)
    messages = [request.message for request in catalogue.requests]
    return [
        Case(
            request.message,
            ranked[:MAX_OFFERED],
            Said(
                wanted=request.wanted,  # type: ignore[arg-type]
                unwanted=request.unwanted,  # type: ignore[arg-type]
                where={name: bound.model_dump(exclude_none=True) for name, bound in request.where.items()} or None,
            ),
            numbers=number_ranges(catalogue),
        )
        for request, ranked in zip(
            catalogue.requests, ranked_phrases(read_made_catalogue(path), messages, encoder), strict=True
        )
    ]


_known: dict[int, tuple[Any, PhraseSpotter, list[str]]] = {}


def _case(retriever: Retriever, message: str, said: Said, history: Sequence[str], target: str) -> Case:
    catalogue = retriever.catalogue
    if id(catalogue) not in _known:
        common = common_phrases(catalogue)
        ranges = [f"{number.name} {number.range}" for number in describe_catalogue(catalogue).numbers()]
        _known[id(catalogue)] = common, PhraseSpotter(common), ranges
    common, spotter, ranges = _known[id(catalogue)]
    of_message = phrases_of_message(message, spotter, retriever.closest_phrases(message, MAX_OFFERED))
    return Case(
        message,
        offered_phrases(of_message, history, catalogue, common),
        said,
        titles=[neutralise(catalogue.item(item_id).title, 80) for item_id in history[-_TITLES:]],
        numbers=ranges,
        history=history,
        target=target,
    )


class Pairs:
    """Judges pairs of a message and a phrase on offer: a logistic regression over the encoder's vectors.

    Args:
        paths: Files of catalogues; those of `VALIDATION` choose the threshold, the others train.
        encoder: Gives the vectors.
    """

    def __init__(self, paths: Sequence[Path], encoder: Encoder) -> None:
        from sklearn.linear_model import LogisticRegression

        self._encoder = encoder
        x, y = self._pairs_of([path for path in paths if path.stem not in VALIDATION])
        kept = y | (np.random.default_rng(0).random(len(y)) < _NEGATIVES)
        self._model = LogisticRegression(max_iter=200, C=0.1).fit(x[kept], y[kept])
        x, y = self._pairs_of([path for path in paths if path.stem in VALIDATION])
        self._from = _best_threshold(self._model.predict_proba(x)[:, 1], y)

    def choose(self, case: Case) -> list[str]:
        """The phrases on offer that the regression takes for wanted."""
        vectors = self._vectors([case.message, *case.offered])
        likely = self._model.predict_proba(_features(case.message, case.offered, vectors))[:, 1]
        return [phrase for phrase, value in zip(case.offered, likely, strict=True) if value > self._from]

    def _pairs_of(self, paths: Sequence[Path]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        features, labels = list[NDArray[np.float64]](), list[bool]()
        for path in paths:
            catalogue = read_catalogue_file(path)
            messages = [request.message for request in catalogue.requests]
            ranked = ranked_phrases(read_made_catalogue(path), messages, self._encoder)
            vectors = self._vectors([*messages, *ranked[0]])
            for request, phrases in zip(catalogue.requests, ranked, strict=True):
                offered = phrases[:MAX_OFFERED]
                features.append(_features(request.message, offered, vectors))
                labels += [phrase in request.wanted for phrase in offered]
        return np.concatenate(features), np.array(labels)

    def _vectors(self, texts: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        distinct = list(dict.fromkeys(texts))
        return dict(zip(distinct, np.asarray(self._encoder.encode(distinct), np.float64), strict=True))


def _features(message: str, offered: Sequence[str], vectors: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """(phrases, 2 + width): the cosine, the logarithm of the position on offer, and the product of both vectors."""
    products = np.stack([vectors[phrase] for phrase in offered]) * vectors[message]
    positions = np.log1p(np.arange(len(offered)))
    return np.column_stack([products.sum(axis=1), positions, 10 * products])


def _best_threshold(values: NDArray[np.float64], wanted: NDArray[np.bool_]) -> float:
    """The value from which on pairs are taken for wanted so that F1 is highest."""
    order = np.argsort(-values)
    right = np.cumsum(wanted[order])
    f1 = 2 * right / (np.arange(1, len(order) + 1) + wanted.sum())
    return float(values[order][f1.argmax()]) - 1e-12


def written_by_model(cases: Sequence[Case], adapter: Path | None) -> list[str]:
    """What the embedded model writes for each case, with an adapter or without, taking the likeliest token."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(EMBEDDED_MODEL)
    model: Any = AutoModelForCausalLM.from_pretrained(EMBEDDED_MODEL, dtype=torch.bfloat16).eval()
    if adapter is not None:
        switch = LoraSwitch(model)
        switch.put_on(read_adapter(adapter, model))
    prompts = Prompts.words()
    opening = tokenizer.encode(BEGIN_PREFERENCE, add_special_tokens=False)

    def ids_of(case: Case) -> list[int]:
        person = prompts.person(
            case.titles, case.message, k=10, titles=case.titles, phrases=case.offered, numbers=case.numbers
        )
        messages = [
            {"role": "system", "content": prompts.tagged_system(10, 1)},
            {"role": "user", "content": person},
        ]
        chat = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        return [*chat["input_ids"], *opening]

    asked = [ids_of(case) for case in cases]
    texts = [""] * len(cases)
    order = iter(sorted(range(len(cases)), key=lambda at: len(asked[at])))
    while batch := list(islice(order, _BATCH)):
        longest = max(len(asked[at]) for at in batch)
        token_ids = torch.zeros(len(batch), longest, dtype=torch.long)
        attention = torch.zeros_like(token_ids)
        for row, at in enumerate(batch):
            token_ids[row, -len(asked[at]) :] = torch.tensor(asked[at])
            attention[row, -len(asked[at]) :] = 1
        with torch.no_grad():
            out = model.generate(
                input_ids=token_ids,
                attention_mask=attention,
                max_new_tokens=_MOST_TOKENS,
                do_sample=False,
                pad_token_id=0,
                stop_strings=["<|"],
                tokenizer=tokenizer,
            )
        for row, at in enumerate(batch):
            texts[at] = tokenizer.decode(out[row, longest:]).split(END_PREFERENCE[:2])[0].strip()
    return texts


def heard(cases: Sequence[Case], texts: Sequence[str]) -> dict[str, float]:
    """Precision and recall of the segments of preferences against what the messages mean, by kind of segment."""
    kinds: Mapping[str, Callable[[str], bool]] = {
        "wanted": lambda s: not s.startswith("not ") and "=" not in s,
        "unwanted": lambda s: s.startswith("not "),
        "bounds": lambda s: "=" in s,
    }
    figures: dict[str, float] = {"requests": len(cases)}
    for kind, fits in kinds.items():
        pairs = [
            ({s for s in map(str.strip, text.split(";")) if s and fits(s)}, {s for s in case.meant() if fits(s)})
            for case, text in zip(cases, texts, strict=True)
        ]
        both = sum(len(written & meant) for written, meant in pairs)
        for name, total in (
            ("precision", sum(len(written) for written, _ in pairs)),
            ("recall", sum(len(meant) for _, meant in pairs)),
        ):
            figures[f"{kind}_{name}"] = round(both / total, 4) if total else float("nan")
    return figures


def ranks(retriever: Retriever, cases: Sequence[Case], preferences: Sequence[str | None]) -> NDArray[np.int64]:
    """The rank of each target in one search with history, words and a preference; what was seen is masked."""
    queries = [
        Query(history=case.history, words=case.message, preference=preference or None)
        for case, preference in zip(cases, preferences, strict=True)
    ]
    return retriever.ranks_of([str(case.target) for case in cases], queries)


def soft(text: str, offered: Sequence[str]) -> str:
    """The phrases on offer that a preference wants."""
    return "; ".join(segment for segment in map(str.strip, text.split(";")) if segment in offered)


def table(rows: Mapping[str, NDArray[np.int64]], baseline: str) -> Iterator[dict[str, Any]]:
    """Recall@10 and NDCG@10 of each row, and its difference from a baseline with a paired 95% interval by person."""
    rng = np.random.default_rng(0)
    gain = {name: np.where(found <= 10, 1 / np.log2(found + 1), 0.0) for name, found in rows.items()}
    hit = {name: (found <= 10).astype(float) for name, found in rows.items()}
    count = len(gain[baseline])
    draws = rng.integers(0, count, (_RESAMPLES, count))
    for name in rows:
        line: dict[str, Any] = {"row": name, "recall": round(hit[name].mean(), 4), "ndcg": round(gain[name].mean(), 4)}
        for metric, values in (("recall", hit), ("ndcg", gain)):
            difference = values[name] - values[baseline]
            low, high = np.quantile(difference[draws].mean(axis=1), [0.025, 0.975])
            line[f"{metric}_difference"] = [round(float(x), 4) for x in (difference.mean(), low, high)]
        yield line


def main(
    out: Path,
    adapter: Annotated[Path, typer.Argument(help="The adapter, such as OUT of the build.")],
    artifact: Path = Path(".deeprec/trm/ml-100k"),
    blind: Annotated[Path | None, typer.Option(help="A file of requests written blind.")] = None,
    people: Annotated[int | None, typer.Option(help="So many test people alone.")] = None,
    untrained: Annotated[bool, typer.Option(help="Also the model without the adapter.")] = False,
) -> None:
    """Measure, and write the figures as they come."""
    retriever = Retriever.load(artifact)
    figures: dict[str, Any] = {}

    def keep(name: str, value: Any) -> None:
        figures[name] = value
        out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        typer.echo(f"{name}: {json.dumps(value)}")

    encoder = make_encoder(None)
    pairs = Pairs(sorted(CATALOGUES.glob("*.json")), encoder)
    for path in [] if people else sorted(HELD_OUT.glob("*.json")):
        cases = held_out_cases(path, encoder)
        keep(f"{path.stem}: first two on offer", heard(cases, ["; ".join(case.offered[:2]) for case in cases]))
        keep(f"{path.stem}: regression", heard(cases, ["; ".join(pairs.choose(case)) for case in cases]))
        keep(f"{path.stem}: adapter", heard(cases, written_by_model(cases, adapter)))
    sets = {"ml-100k in test words": ml100k_cases(retriever)[:people]}
    if blind is not None:
        sets["written blind"] = blind_cases(retriever, blind)[:people]
    for name, cases in sets.items():
        said = [[phrase for phrase in case.said.wanted if phrase in case.offered] for case in cases]
        keep(f"{name}: said phrases on offer", sum(map(len, said)) / sum(len(case.said.wanted) for case in cases))
        sent: dict[str, list[str | None]] = {
            "words": [None for _ in cases],
            "words + first two on offer": ["; ".join(case.offered[:2]) for case in cases],
            "words + logistic regression": ["; ".join(pairs.choose(case)) for case in cases],
            "words + said phrases (oracle)": ["; ".join(case.said.wanted) for case in cases],
        }
        asked = [("adapter", adapter)] if adapter.is_dir() else []
        for label, folder in (*asked, *([("untrained model", None)] if untrained else [])):
            texts = written_by_model(cases, folder)
            keep(f"{name}: {label}", heard(cases, texts))
            sent[f"words + {label}"] = [soft(text, case.offered) for text, case in zip(texts, cases, strict=True)]
        keep(name, list(table({row: ranks(retriever, cases, each) for row, each in sent.items()}, "words")))


if __name__ == "__main__":
    typer.run(main)
