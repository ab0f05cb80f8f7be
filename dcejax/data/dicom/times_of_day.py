"""Times and dates as DICOM writes them, in seconds; None of a text that is none."""

from datetime import datetime
from typing import Any

_DAY_ZERO = datetime(2000, 1, 1).toordinal()  # near, so that seconds keep their fractions


def of_time(text: Any) -> float | None:
    """Seconds of HHMMSS.FFFFFF, also of the older HH:MM:SS."""
    digits = str(text or "").replace(":", "").strip()
    if len(digits.split(".")[0]) != 6:
        return None
    try:
        seconds = float(digits[4:])
        return int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + seconds
    except ValueError:
        return None


def of_date(text: Any) -> float | None:
    """Seconds from a fixed day to that of YYYYMMDD."""
    try:
        day = datetime.strptime(str(text or "").strip()[:8], "%Y%m%d").toordinal()
        return (day - _DAY_ZERO) * 86400.0
    except ValueError:
        return None


def of_date_and_time(text: Any) -> float | None:
    """Seconds of YYYYMMDDHHMMSS.FFFFFF with or without an offset from UTC, which is one for all."""
    words = str(text or "").strip()
    day, rest = of_date(words), words[8:].split("+")[0].split("-")[0]
    seconds = of_time(rest)
    return None if day is None or seconds is None else day + seconds
