"""The README.md of an artifact: what the model is, what it was trained on, what it measured, how to load it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_model_card(path: Path, name: str, config: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """Write the card of the artifact folder `name` from what its `config.json` and `metrics.json` hold."""
    architecture = ", ".join(f"{name} {value}" for name, value in config["architecture"].items())
    versions = ", ".join(f"{name} {version}" for name, version in config["versions"].items())
    ranked = config["items"] - config.get("removed_items", 0)
    path.write_text(
        f"""# A preference-aware recommender

Ranks {ranked} items for a history of item ids and a preference in words (phrases joined by `;`). Written by
deeprec-agent after DeepRec (Zheng et al. 2025, arXiv:2505.16810).

- Trained on: {config["dataset_name"] or "data without a name"}, without the last {config["holdout"]} items a user.
- Fingerprint of the data: `{config["dataset_fingerprint"][:16]}`; seed: {config["seed"]}.
- Architecture: {architecture}.
- Text encoder: {config["encoder_id"]}, {config["text_width"]} wide. Preferences must be encoded with the same one.
- Made with: {versions}.
{_changes(config)}
## Measured

{_table(metrics)}

Validation is the item before the last of each person, ranked against the whole catalogue. Epochs were selected on it,
so that its figures are too high; `deeprec trm eval` measures on the last items.

## Limits

Preferences in training were lists of phrases of catalogue attributes, some of them wrong. In a
sentence, the phrases that it names in the catalogue's own words count most.
The default trust in a preference is {config["trust"]:g} of its training weight: validation gains most at it over
exact, partial and another person's preferences, and keeps most when the preference is wrong.
{_words(config, metrics)}
The folder holds the catalogue's titles and texts: whatever terms the data came under hold for it too.

## Loading

```python
from deeprec.trm_tool import Retriever

retriever = Retriever.load("{name}")
retriever.retrieve(history=[], preference="comedy; 1990s", k=10)
```
""",
        encoding="utf-8",
    )


def _words(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    trust = config.get("words_trust", config["trust"])
    requests = metrics.get("requests")
    if not isinstance(requests, Mapping):
        return (
            f"A person's own words are trusted {trust:g}, like a preference: training had no requests in words "
            "(`deeprec trm train --requests`)."
        )
    training, left_out = requests.get("training"), config.get("without_fold")
    fold = f", without the conversations of fold {left_out}" if left_out else ""
    return (
        f"A person's own words are trusted {trust:g}: training read {training} requests in words{fold}, and held-out "
        "requests chose the trust. In another language, or for other tasks, words may say less."
    )


def _changes(config: Mapping[str, Any]) -> str:
    if "changes" not in config:
        return ""
    counts = ", ".join(f"{count} {change}" for change, count in config["changes"].items())
    return (
        f"- Changed after training on {config['trained_items']} items, from artifact `{config['changed_from']}`; "
        f"changes of items so far: {counts}. An added item is ranked by its text; the figures below are older.\n"
    )


def _table(metrics: Mapping[str, Any]) -> str:
    rows = metrics.get("validation")
    if not isinstance(rows, Mapping) or not rows:
        return "Nothing was measured."
    try:
        names = list(next(iter(rows.values())))
        lines = ["| validation | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for protocol, values in rows.items():
            lines.append(f"| {protocol} | " + " | ".join(f"{values[name]:.4f}" for name in names) + " |")
    except (AttributeError, KeyError, TypeError, ValueError):  # the metrics of an older artifact were edited by hand
        return "What was measured cannot be read."
    return "\n".join(lines)
