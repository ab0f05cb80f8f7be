"""One wording for files that the system does not let us use."""


def refusal(error: OSError) -> str:
    """Say which file it is, what the system found and what to do."""
    return (
        f"{error.filename or 'a file'}: expected a path that can be read or written, found "
        f"{error.strerror or error}; check the path and its permissions"
    )
