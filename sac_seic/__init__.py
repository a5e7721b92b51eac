__version__ = "0.1.0"

_modules = {"SAC": "sac", "SEIC": "seic", "cluster": "tool.cluster", "load": "tool.cluster"}  # imported when asked for


def __getattr__(name):
    if name not in _modules: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module
    return getattr(import_module(f"{__name__}.{_modules[name]}"), name)
