"""The preference-aware recommender: data, model, training, retriever, tool."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deeprec.trm_tool.errors import ArtifactError, ConfigError, DataError, DeepRecError, UnknownItemError

if TYPE_CHECKING:
    from deeprec.trm_tool.artifact import Artifact, load_artifact, save_artifact
    from deeprec.trm_tool.atomic import embedded_ml100k, read_atomic_files
    from deeprec.trm_tool.catalogue import Catalogue, Item
    from deeprec.trm_tool.columns import ColumnNames
    from deeprec.trm_tool.dataset import Dataset
    from deeprec.trm_tool.embedding_cache import CachedEncoder
    from deeprec.trm_tool.encoder import Encoder, HashingEncoder, TextEncoder, TextRole, make_encoder
    from deeprec.trm_tool.filters import Condition, UnknownValue, Where
    from deeprec.trm_tool.item_file import read_items
    from deeprec.trm_tool.model import PreferenceAwareTRM, TRMConfig
    from deeprec.trm_tool.preference_file import (
        WrittenPreference,
        check_preference_file,
        history_digest,
        read_preference_file,
        write_preference_file,
    )
    from deeprec.trm_tool.preferences import PreferenceConfig, PreferencePool, write_preferences
    from deeprec.trm_tool.progress import training_bar
    from deeprec.trm_tool.retriever import Retrieved, Retriever, ScoredItem
    from deeprec.trm_tool.scoring import Query
    from deeprec.trm_tool.text import neutralise
    from deeprec.trm_tool.tool import make_retrieve_items_tool
    from deeprec.trm_tool.train import TrainingConfig, TrainingProgress, train_trm
    from deeprec.trm_tool.written_preferences import Refusal, WrittenTexts, collect_training_texts

# Modules load on first use of a name: torch takes seconds, and `deeprec --help` needs the errors only.
_HOMES = {
    "Artifact": "artifact",
    "CachedEncoder": "embedding_cache",
    "Catalogue": "catalogue",
    "ColumnNames": "columns",
    "Condition": "filters",
    "Dataset": "dataset",
    "Encoder": "encoder",
    "HashingEncoder": "encoder",
    "Item": "catalogue",
    "PreferenceAwareTRM": "model",
    "PreferenceConfig": "preferences",
    "PreferencePool": "preferences",
    "Query": "scoring",
    "Refusal": "written_preferences",
    "Retrieved": "retriever",
    "Retriever": "retriever",
    "ScoredItem": "retriever",
    "TRMConfig": "model",
    "TextEncoder": "encoder",
    "TextRole": "encoder",
    "TrainingConfig": "train",
    "TrainingProgress": "train",
    "UnknownValue": "filters",
    "Where": "filters",
    "WrittenPreference": "preference_file",
    "WrittenTexts": "written_preferences",
    "check_preference_file": "preference_file",
    "collect_training_texts": "written_preferences",
    "embedded_ml100k": "atomic",
    "history_digest": "preference_file",
    "load_artifact": "artifact",
    "make_encoder": "encoder",
    "make_retrieve_items_tool": "tool",
    "neutralise": "text",
    "read_atomic_files": "atomic",
    "read_items": "item_file",
    "read_preference_file": "preference_file",
    "save_artifact": "artifact",
    "train_trm": "train",
    "training_bar": "progress",
    "write_preference_file": "preference_file",
    "write_preferences": "preferences",
}

__all__ = [
    "Artifact",
    "ArtifactError",
    "CachedEncoder",
    "Catalogue",
    "ColumnNames",
    "Condition",
    "ConfigError",
    "DataError",
    "Dataset",
    "DeepRecError",
    "Encoder",
    "HashingEncoder",
    "Item",
    "PreferenceAwareTRM",
    "PreferenceConfig",
    "PreferencePool",
    "Query",
    "Refusal",
    "Retrieved",
    "Retriever",
    "ScoredItem",
    "TRMConfig",
    "TextEncoder",
    "TextRole",
    "TrainingConfig",
    "TrainingProgress",
    "UnknownItemError",
    "UnknownValue",
    "Where",
    "WrittenPreference",
    "WrittenTexts",
    "check_preference_file",
    "collect_training_texts",
    "embedded_ml100k",
    "history_digest",
    "load_artifact",
    "make_encoder",
    "make_retrieve_items_tool",
    "neutralise",
    "read_atomic_files",
    "read_items",
    "read_preference_file",
    "save_artifact",
    "train_trm",
    "training_bar",
    "write_preference_file",
    "write_preferences",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"deeprec.trm_tool.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
