"""Files on disk: atomic writing, unfinished work, tables, TOML, files shipped with the package."""
