from .build import build_shopping_agent as build_shopping_agent
from .cart import Cart as Cart, CartReceipt as CartReceipt, MemoryCart as MemoryCart, SqliteCart as SqliteCart
from .config import ShoppingConfig as ShoppingConfig
from .reply import (
    ConfirmedAction as ConfirmedAction,
    Reply as Reply,
    ReplyKind as ReplyKind,
    ReplyQuestion as ReplyQuestion,
    ShownCard as ShownCard,
)
from .shopping_tool import make_shopping_tool as make_shopping_tool
from .state import ShoppingInput as ShoppingInput, ShoppingOutput as ShoppingOutput, ShoppingState as ShoppingState
