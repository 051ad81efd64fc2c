from .check import CheckReport as CheckReport, check_data as check_data
from .generated_shop.generator import ShopConfig as ShopConfig, ShopReport as ShopReport, generate_shop as generate_shop
from .importers.importing import ImportReport as ImportReport, import_data as import_data
from .importers.interactions import FilterConfig as FilterConfig
from .importers.own_tables import TableOptions as TableOptions
