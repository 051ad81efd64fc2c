from .catalogue_folder import read_catalogue as read_catalogue
from .check import (
    Attribute as Attribute,
    CheckReport as CheckReport,
    Statistics as Statistics,
    check_data as check_data,
)
from .column_kinds import ItemColumn as ItemColumn
from .columns import ColumnKind as ColumnKind
from .generated_shop.generator import ShopConfig as ShopConfig, ShopReport as ShopReport, generate_shop as generate_shop
from .importers.importing import ImportReport as ImportReport, import_data as import_data
from .importers.interaction_table import Meanings as Meanings
from .importers.interactions import Event as Event, FilterConfig as FilterConfig, Stage as Stage
from .importers.item_joins import ItemJoin as ItemJoin
from .importers.items import ColumnReport as ColumnReport, ItemRow as ItemRow
from .importers.lines import BadRows as BadRows, Reading as Reading, read_lines as read_lines
from .importers.own_importer import Importer as Importer, load_importer as load_importer
from .importers.own_tables import TableOptions as TableOptions
from .importers.source import ItemFile as ItemFile, Source as Source, make_event as make_event
from .made_requests.config import MadeRequestConfig as MadeRequestConfig
from .made_requests.request_maker import RequestMaker as RequestMaker
from .made_requests.test_words import TEST_WORDS as TEST_WORDS
from .made_requests.training_words import TRAINING_WORDS as TRAINING_WORDS
from .made_requests.words import Words as Words
from .problems import Problem as Problem
from .requests.catalogue_marks import CatalogueMarks as CatalogueMarks
from .requests.check import RequestReport as RequestReport, check_requests as check_requests
from .requests.folds import (
    ConversationFold as ConversationFold,
    read_fold as read_fold,
    split_requests as split_requests,
)
from .requests.importers.importing import (
    DialogueOptions as DialogueOptions,
    RequestFormat as RequestFormat,
    RequestImport as RequestImport,
    import_requests as import_requests,
)
from .requests.importers.log_columns import LogOptions as LogOptions
from .requests.known_items import with_known_items as with_known_items
from .requests.request import Request as Request, Said as Said
from .requests.request_file import (
    marks_of as marks_of,
    read_requests as read_requests,
    write_requests as write_requests,
)
from .time_figures import TimeFigures as TimeFigures
