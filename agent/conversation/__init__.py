"""What is known in a conversation: typed state, the changes that a turn makes to it, and the question worth asking.

Code holds the state: no model writes it. A model may propose a change, which is checked against the catalogue.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
