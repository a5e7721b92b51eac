__version__ = "0.1.0"

_estimators = {"SAC": "sac", "SEIC": "seic"}  # the module each is in, imported (with torch) when first asked for


def __getattr__(name):
    if name not in _estimators: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module
    return getattr(import_module(f"{__name__}.{_estimators[name]}"), name)
