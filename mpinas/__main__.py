"""``python -m mpinas``."""

from mpinas.signals import hold_signals


def start() -> None:
    """Holds signals back before loading what takes a second, then does what was asked."""
    hold_signals()
    from mpinas.cli import main

    main()


if __name__ == "__main__":
    start()
