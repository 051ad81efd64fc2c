"""Data sets and requests: import of published and own data, a check of what is there, a generated shop."""

import lazy_loader

# Public names are in `__init__.pyi` and load on first use, so that `deeprec --help` needs no torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
