from .check import (
    Attribute as Attribute,
    CheckReport as CheckReport,
    Statistics as Statistics,
    check_data as check_data,
)
from .generated_shop.generator import ShopConfig as ShopConfig, ShopReport as ShopReport, generate_shop as generate_shop
from .importers.importing import ImportReport as ImportReport, import_data as import_data
from .importers.interactions import Event as Event, FilterConfig as FilterConfig, Stage as Stage
from .importers.items import ColumnReport as ColumnReport, ItemRow as ItemRow
from .importers.lines import BadRows as BadRows, Reading as Reading, read_lines as read_lines
from .importers.own_importer import Importer as Importer, load_importer as load_importer
from .importers.own_tables import TableOptions as TableOptions
from .importers.source import ItemFile as ItemFile, Source as Source, make_event as make_event
from .problems import Problem as Problem
