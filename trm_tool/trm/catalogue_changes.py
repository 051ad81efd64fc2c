"""Items are added, updated and removed without training again: each change makes another artifact."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deeprec.trm_tool.catalogue.catalogue import AttributeValue, Catalogue, Item, encoder_text, fits_kind, is_year
from deeprec.trm_tool.encoders.text_encoder import Encoder
from deeprec.trm_tool.errors import ConfigError, DataError, UnknownItemError
from deeprec.trm_tool.text import plain
from deeprec.trm_tool.trm.artifact import CHANGES, Artifact
from deeprec.trm_tool.trm.id_embedding_estimates import expected_ids

_NAMED = 10
"""Ids that an error names; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The artifact that a change made of another one, which stays unchanged."""

    artifact: Artifact
    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Rows of the catalogue whose vectors changed or are new."""


def add_items(artifact: Artifact, items: Iterable[Item], encoder: Encoder) -> Change:
    """Add items that training never saw, or bring back items that were removed. All of them, or none.

    An item is ranked by its text: its id embedding is estimated from the text (`expected_ids`), and its popularity is
    0. An item that was removed gets its own id embedding and popularity back.

    Args:
        artifact: The items are added to its catalogue.
        items: An empty text is written from title and attributes, as training writes it.
        encoder: The one that the artifact was trained with; it encodes the new texts only.

    Raises:
        DataError: an item is in the catalogue already, stands twice in `items`, or does not fit: names item and field.
        ConfigError: the encoder gives other vectors than the artifact needs.
    """
    catalogue = artifact.catalogue
    checked = _check_items(catalogue, items)
    present = [item.id for item in checked if item.id in catalogue and item.id not in catalogue.removed]
    if present:
        raise DataError(
            f"In the catalogue already: {_named(present)}. Nothing was added; update these items, or leave them out."
        )
    return _put(artifact, checked, encoder, "added")


def update_items(artifact: Artifact, items: Iterable[Item], encoder: Encoder) -> Change:
    """Replace title, text and attributes of items by those given. All of them, or none.

    Each keeps its popularity, and its id embedding if that was trained. Only texts that changed are encoded; items that
    are as they were change nothing, not even the fingerprint.

    Raises:
        UnknownItemError: an item is not in the catalogue, or was removed.
        DataError: an item stands twice in `items`, or does not fit: names item and field.
        ConfigError: the encoder gives other vectors than the artifact needs.
    """
    catalogue = artifact.catalogue
    checked = _check_items(catalogue, items)
    _check_present(catalogue, [item.id for item in checked], "updated")
    return _put(artifact, [item for item in checked if item != catalogue.item(item.id)], encoder, "updated")


def remove_items(artifact: Artifact, item_ids: Collection[str]) -> Change:
    """Take items out of every answer. All of them, or none.

    People's histories outlive products: an id that was removed may still stand in a history, and is read as before.

    Raises:
        UnknownItemError: an id is not in the catalogue, or was removed already.
    """
    if isinstance(item_ids, str) or not isinstance(item_ids, Iterable):
        raise ConfigError(f"item_ids is {_shown(item_ids)}. Give a list of item ids.")
    catalogue, removed = artifact.catalogue, list(dict.fromkeys(map(_as_id, item_ids)))
    _check_present(catalogue, removed, "removed")
    if not removed:
        return Change(artifact=artifact)
    after = Catalogue(catalogue, catalogue.attribute_kinds, catalogue.removed.union(removed), catalogue.text_columns)
    return Change(artifact=_changed(artifact, after, "removed", removed))


def _put(artifact: Artifact, items: Sequence[Item], encoder: Encoder, change: str) -> Change:
    if not items:
        return Change(artifact=artifact)
    catalogue = artifact.catalogue
    shelf, stale = list(catalogue), list[int]()
    for item in items:
        if item.id not in catalogue:
            stale.append(len(shelf))
            shelf.append(item)
            continue
        row = catalogue.row(item.id)
        if item.text != shelf[row].text:
            stale.append(row)
        shelf[row] = item
    left = catalogue.removed.difference(item.id for item in items)
    after = Catalogue(shelf, catalogue.attribute_kinds, left, catalogue.text_columns)
    _check_years(catalogue, after, items)
    changed = _changed(
        artifact, after, change, [(item.id, item.title, item.text, dict(item.attributes)) for item in items]
    )
    if not stale:
        return Change(artifact=changed)
    model, rows, added = artifact.model, np.array(stale, dtype=np.int64), len(after) - len(catalogue)
    texts = torch.cat((artifact.text_embeddings, artifact.text_embeddings.new_empty(added, _text_width(artifact))))
    texts[torch.from_numpy(rows)] = _encode(encoder, [shelf[row].text for row in stale], _text_width(artifact)).to(
        texts
    )
    ids = torch.cat((model.id_embedding.weight, model.id_embedding.weight.new_empty(added, model.config.width)))
    unseen = torch.from_numpy(rows[rows >= changed.config["trained_items"]])
    ids[unseen] = expected_ids(model, artifact.popularity, texts[unseen])
    return Change(
        artifact=replace(
            changed,
            model=model.with_items(ids, texts),
            text_embeddings=texts,
            popularity=np.concatenate((artifact.popularity, np.zeros(added))),
        ),
        rows=rows,
    )


def _changed(artifact: Artifact, catalogue: Catalogue, change: str, what: Sequence[Any]) -> Artifact:
    """The artifact with a new catalogue, its lineage, and a fingerprint that equal changes of equal artifacts share."""
    counts = dict.fromkeys(CHANGES, 0) | artifact.config.get("changes", {})
    config = artifact.config | {
        "items": len(catalogue),
        "trained_items": artifact.config.get("trained_items", len(artifact.catalogue)),
        "removed_items": len(catalogue.removed),
        **({} if "changes" in artifact.config else {"trained_as": artifact.fingerprint}),
        "changes": counts | {change: counts[change] + len(what)},
    }
    lineage = json.dumps([artifact.fingerprint, change, what], sort_keys=True)
    fingerprint = hashlib.sha256(lineage.encode()).hexdigest()[:16]
    return replace(artifact, catalogue=catalogue, config=config, fingerprint=fingerprint)


def _text_width(artifact: Artifact) -> int:
    return int(artifact.text_embeddings.shape[1])


def _encode(encoder: Encoder, texts: Sequence[str], width: int) -> Tensor:
    encoded = encoder.encode(texts)
    if encoded.shape != (len(texts), width) or not np.isfinite(encoded).all():
        seen = f"vectors of shape {encoded.shape}" if encoded.shape != (len(texts), width) else "values not finite"
        raise ConfigError(
            f"The text encoder {encoder.id!r} gave {seen} where the artifact needs ({len(texts)}, {width}). "
            "Use the encoder that the artifact was trained with."
        )
    return torch.from_numpy(encoded)


def _check_present(catalogue: Catalogue, item_ids: Sequence[str], change: str) -> None:
    missing = [item_id for item_id in item_ids if item_id not in catalogue or item_id in catalogue.removed]
    if missing:
        removed = [item_id for item_id in missing if item_id in catalogue]
        also = f" ({len(removed)} of them were removed; add them to bring them back)" if removed else ""
        raise UnknownItemError(f"Not in the catalogue: {_named(missing)}{also}. Nothing was {change}; correct the ids.")


def _check_items(catalogue: Catalogue, items: Iterable[Item]) -> list[Item]:
    """The items as the catalogue keeps them; DataError names the first that does not fit, and why."""
    if isinstance(items, Item | str) or not isinstance(items, Iterable):
        raise DataError(f"items is {_shown(items)}. Give a list of items.")
    checked: dict[str, Item] = {}
    for item in items:
        if not isinstance(item, Item):
            raise DataError(f"One of the items is {_shown(item)}. Give objects of the class Item.")
        fitting = _check_item(catalogue, item)
        if item.id in checked:
            raise DataError(f"Item {_shown(item.id)} stands twice among the items given. Keep one of the two.")
        checked[item.id] = fitting
    return list(checked.values())


def _check_item(catalogue: Catalogue, item: Item) -> Item:
    _as_id(item.id)
    if item.id not in catalogue and (not item.id.strip() or item.id != item.id.strip() or not item.id.isprintable()):
        raise DataError(
            f"An item has the id {_shown(item.id)}. Give it one of visible characters, without white space around it."
        )
    for name, text in (("id", item.id), ("title", item.title), ("text", item.text)):
        _check_text(item.id, name, text)
    if not isinstance(item.attributes, Mapping):
        raise DataError(f"Item {_shown(item.id)} has {_shown(item.attributes)} as attributes. Give a mapping.")
    attributes: dict[str, AttributeValue] = {}
    for name, given in item.attributes.items():
        kind = catalogue.attribute_kinds.get(name)
        if kind is None:
            known = ", ".join(catalogue.attribute_kinds) or "none"
            raise DataError(
                f"Item {_shown(item.id)} has an attribute {_shown(name)}, which the catalogue lacks; it has {known}. "
                "Leave it out, or train again on data that has it."
            )
        value = _as_value(given)
        if value is None:
            continue
        if not fits_kind(value, kind):
            wanted = {"number": "a finite number", "tags": "several words (a tuple of text)", "category": "one text"}
            raise DataError(
                f"Item {_shown(item.id)} has {_shown(given)} as {name!r}, which takes {wanted[kind]}. "
                "Correct it, or leave the attribute out."
            )
        for part in value if isinstance(value, tuple) else (value,):
            _check_text(item.id, name, str(part))
        attributes[name] = value
    attributes = {name: attributes[name] for name in catalogue.attribute_kinds if name in attributes}
    title = item.title if _is_readable(item.title) else item.id
    text = item.text if _is_readable(item.text) else encoder_text(title, attributes, catalogue.year_attributes)
    return Item(id=item.id, title=title, text=text, attributes=attributes)


def _as_id(item_id: object) -> str:
    if not isinstance(item_id, str):
        raise DataError(f"An item has the id {_shown(item_id)}, which is not text. Give ids as text.")
    return item_id


def _as_value(given: object) -> Any:
    """An attribute as the catalogue keeps it: numbers as floats, lists as tuples; None where it is empty."""
    if isinstance(given, Real) and not isinstance(given, bool):
        try:
            return float(given)
        except OverflowError:  # a whole number beyond all floats
            return given
    if isinstance(given, list | tuple):
        return tuple(given) or None
    return None if isinstance(given, str) and not given else given


def _is_readable(text: str) -> bool:
    return any(char.isprintable() and not char.isspace() for char in text)


def _check_text(item_id: str, name: str, text: object) -> None:
    if not isinstance(text, str):
        raise DataError(f"Item {_shown(item_id)} has {_shown(text)} as {name!r}, which is not text. Give text.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"Item {_shown(item_id)} has half of a character (a lone surrogate) in {name!r}. Correct the text."
        ) from None


def _check_years(before: Catalogue, after: Catalogue, items: Sequence[Item]) -> None:
    """Refuse values that would turn years into plain numbers, and so take the decades away from every item."""
    for name in before.year_attributes:
        if name not in after.year_attributes:
            values = {item.id: item.attributes[name] for item in items if name in item.attributes}
            wrong = [f"{item_id!r} has {value:g}" for item_id, value in values.items() if not is_year(value)]
            raise DataError(
                f"With these items {name!r} would hold too few years from 1800 to 2100 to be read as one, and no "
                f"decade could be asked for{': item ' + wrong[0] if wrong else ''}. Correct it, or leave it out."
            )


def _named(item_ids: Sequence[str]) -> str:
    more = f" and {len(item_ids) - _NAMED} more" if len(item_ids) > _NAMED else ""
    return ", ".join(map(_shown, item_ids[:_NAMED])) + more


def _shown(value: object) -> str:
    """A value on one line, also where its repr has several."""
    return repr(value)[:80] if isinstance(value, str) else plain(repr(value), 80)
