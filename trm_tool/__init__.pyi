from .catalogue.card import (
    CatalogueCard as CatalogueCard,
    DescribedAttribute as DescribedAttribute,
    describe_catalogue as describe_catalogue,
)
from .catalogue.catalogue import Catalogue as Catalogue, Item as Item
from .catalogue.filters import Condition as Condition, UnknownValue as UnknownValue, Where as Where
from .catalogue.nearest_constraints import (
    NearestConstraints as NearestConstraints,
    nearest_constraints as nearest_constraints,
)
from .catalogue.stated_preference import (
    Constraint as Constraint,
    PreferenceReader as PreferenceReader,
    StatedPreference as StatedPreference,
    read_stated_preference as read_stated_preference,
)
from .catalogue_tool import make_describe_catalogue_tool as make_describe_catalogue_tool
from .choices_tool import make_people_also_chose_tool as make_people_also_chose_tool
from .data.atomic_files import embedded_ml100k as embedded_ml100k, read_atomic_files as read_atomic_files
from .data.columns import ColumnNames as ColumnNames
from .data.dataset import Dataset as Dataset
from .data.item_file import read_items as read_items
from .data.preference_file import (
    WrittenPreference as WrittenPreference,
    check_preference_file as check_preference_file,
    history_digest as history_digest,
    read_preference_file as read_preference_file,
    write_preference_file as write_preference_file,
)
from .encoders.embedding_cache import CachedEncoder as CachedEncoder
from .encoders.text_encoder import (
    Encoder as Encoder,
    HashingEncoder as HashingEncoder,
    TextEncoder as TextEncoder,
    TextRole as TextRole,
    encoder_of_artifact as encoder_of_artifact,
    make_encoder as make_encoder,
)
from .errors import (
    ArtifactError as ArtifactError,
    ConfigError as ConfigError,
    DataError as DataError,
    DeepRecError as DeepRecError,
    RecommenderRefusedError as RecommenderRefusedError,
    RecommenderUnavailableError as RecommenderUnavailableError,
    UnknownItemError as UnknownItemError,
)
from .progress import training_bar as training_bar
from .recommender import (
    AnyRecommender as AnyRecommender,
    AsyncRecommender as AsyncRecommender,
    BatchRecommender as BatchRecommender,
    CatalogueView as CatalogueView,
    CoChoices as CoChoices,
    ItemEvidence as ItemEvidence,
    ItemVectors as ItemVectors,
    PhraseSimilarity as PhraseSimilarity,
    Query as Query,
    Recommender as Recommender,
    RecommenderIdentity as RecommenderIdentity,
    Retrieved as Retrieved,
    ScoredItem as ScoredItem,
    call_arguments as call_arguments,
    is_async as is_async,
    ranks_of as ranks_of,
    retrieve_batch as retrieve_batch,
    split_known as split_known,
    takes_words as takes_words,
)
from .sasrec.recommender import (
    SasrecConfig as SasrecConfig,
    SasrecRecommender as SasrecRecommender,
    load_sasrec as load_sasrec,
)
from .sasrec.training import (
    SasrecTraining as SasrecTraining,
    train_knowledge_sasrec as train_knowledge_sasrec,
)
from .score_ranking import ScoreRanking as ScoreRanking
from .signals.complementary_signals import ComplementarySignals as ComplementarySignals, Evidence as Evidence
from .signals.reranking import SignalReranking as SignalReranking, fit_reranking as fit_reranking
from .text import neutralise as neutralise
from .tool import (
    RetrieveItemsItem as RetrieveItemsItem,
    RetrieveItemsResult as RetrieveItemsResult,
    make_retrieve_items_tool as make_retrieve_items_tool,
)
from .trm.artifact import Artifact as Artifact, load_artifact as load_artifact, save_artifact as save_artifact
from .trm.model import PreferenceAwareTRM as PreferenceAwareTRM, TRMConfig as TRMConfig
from .trm.retriever import Retriever as Retriever
from .trm.training.preferences import (
    PreferenceConfig as PreferenceConfig,
    PreferencePool as PreferencePool,
    encode_preferences as encode_preferences,
    write_preferences as write_preferences,
)
from .trm.training.request_examples import (
    RequestRefusal as RequestRefusal,
    TrainingRequests as TrainingRequests,
    collect_requests as collect_requests,
)
from .trm.training.train import (
    TrainingConfig as TrainingConfig,
    TrainingProgress as TrainingProgress,
    train_trm as train_trm,
)
from .trm.training.written_preferences import (
    Refusal as Refusal,
    WrittenTexts as WrittenTexts,
    collect_training_texts as collect_training_texts,
)

__version__: str
