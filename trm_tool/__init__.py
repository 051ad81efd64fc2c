"""The preference-aware recommender: data, model, training, retriever, tool."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deeprec.trm_tool.errors import ArtifactError, ConfigError, DataError, DeepRecError, UnknownItemError

if TYPE_CHECKING:
    from deeprec.trm_tool.atomic import embedded_ml100k, read_atomic_files
    from deeprec.trm_tool.catalogue import Catalogue, Item
    from deeprec.trm_tool.columns import ColumnNames
    from deeprec.trm_tool.dataset import Dataset
    from deeprec.trm_tool.encoder import Encoder, HashingEncoder, TextEncoder, make_encoder
    from deeprec.trm_tool.text import neutralise

# Modules load on first use of a name: torch takes seconds, and `deeprec --help` needs the errors only.
_HOMES = {
    "Catalogue": "catalogue",
    "ColumnNames": "columns",
    "Dataset": "dataset",
    "Encoder": "encoder",
    "HashingEncoder": "encoder",
    "Item": "catalogue",
    "TextEncoder": "encoder",
    "embedded_ml100k": "atomic",
    "make_encoder": "encoder",
    "neutralise": "text",
    "read_atomic_files": "atomic",
}

__all__ = [
    "ArtifactError",
    "Catalogue",
    "ColumnNames",
    "ConfigError",
    "DataError",
    "Dataset",
    "DeepRecError",
    "Encoder",
    "HashingEncoder",
    "Item",
    "TextEncoder",
    "UnknownItemError",
    "embedded_ml100k",
    "make_encoder",
    "neutralise",
    "read_atomic_files",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"deeprec.trm_tool.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
