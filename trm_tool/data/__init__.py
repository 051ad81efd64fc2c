"""Data sets: import of published and own data, a check of what is there, a generated shop."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeprec.trm_tool.data.check import CheckReport, check_data
    from deeprec.trm_tool.data.generic import TableOptions
    from deeprec.trm_tool.data.importing import ImportReport, import_data
    from deeprec.trm_tool.data.interactions import FilterConfig
    from deeprec.trm_tool.data.shop import ShopConfig, ShopReport, generate_shop

_HOMES = {
    "CheckReport": "check",
    "FilterConfig": "interactions",
    "ImportReport": "importing",
    "ShopConfig": "shop",
    "ShopReport": "shop",
    "TableOptions": "generic",
    "check_data": "check",
    "generate_shop": "shop",
    "import_data": "importing",
}

__all__ = [
    "CheckReport",
    "FilterConfig",
    "ImportReport",
    "ShopConfig",
    "ShopReport",
    "TableOptions",
    "check_data",
    "generate_shop",
    "import_data",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"deeprec.trm_tool.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
