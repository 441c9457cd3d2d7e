"""``python -m volumetry``."""

from volumetry.cli import main

if __name__ == "__main__":
    main()
