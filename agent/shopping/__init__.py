"""The shopping agent: a graph that holds a conversation over a catalogue, a person's history and a recommender.

Code decides, renders and checks; a model, where there is one, searches.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
