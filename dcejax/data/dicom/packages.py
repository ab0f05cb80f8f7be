"""The packages of the extra `dicom`, imported only where DICOM is met."""

import importlib
import warnings
from typing import Any


def require(name: str) -> Any:
    """Import a module of the extra, without the warnings of pydicom: they repeat values of headers, which may name the
    patient.

    Raises:
        ValueError: it is not installed; the text has the command that installs it.
    """
    warnings.filterwarnings("ignore", module=r"pydicom\.")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"DICOM: expected the package {name.split('.')[0]}, found none; install it: pip install 'dcejax[dicom]'"
        ) from error
