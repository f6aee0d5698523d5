"""Voltase: molecular dynamics of electrochemical interfaces at constant electrode potential."""


def __getattr__(name: str) -> str:
    # Reading the installed metadata takes a few milliseconds, so only on demand.
    if name == "__version__":
        from importlib.metadata import version

        return version("voltase")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
