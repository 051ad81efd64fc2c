"""The web page where people meet the shopping agent: the conversation, what it knows, and its reasoning as it happens.

The extra `[ui]` brings what it needs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
