"""``python -m mpinas``."""

from mpinas.cli import main

if __name__ == "__main__":
    main()
