"""Whether a profile may go to a file. Apart from ``machine`` as it needs no torch: bad places are refused at once."""

from pathlib import Path

from glmplan.errors import InputError


def check_output(path: Path, *, overwrite: bool) -> None:
    """Raises InputError when a profile may not be written to ``path``: better before the measuring than after."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a file, such as {path / 'machine.yaml'}")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already; give --overwrite to replace it, or another -o")
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"{path}: a profile's name ends in .yaml; give -o {path.name}.yaml")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; create it first")
