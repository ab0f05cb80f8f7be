"""The flag that lets runs take over what earlier ones have compiled."""

from pathlib import Path

from absl import flags

from dcejax.data import access


def define(values: flags.FlagValues) -> None:
    """Define --compilation_cache."""
    flags.DEFINE_string(
        "compilation_cache",
        None,
        "Folder in which compiled programs are kept for later runs; made if absent. None is kept without it.",
        flag_values=values,
    )


def use(folder: str | None, *, dry_run: bool = False) -> None:
    """Keep compiled programs in the flag's folder, which a dry run only checks; call it before anything compiles.

    Raises:
        ValueError: a folder that cannot be made or written.
    """
    if folder is None:
        return
    if not folder:
        raise ValueError("--compilation_cache: expected a folder, found none; name one or leave the flag out")
    import jax  # takes seconds that --help need not wait for

    try:
        access.check_writable(Path(folder), "--compilation_cache")
    except OSError as error:
        raise ValueError(f"--compilation_cache: {access.refusal(error)}") from error
    if dry_run:
        return
    jax.config.update("jax_compilation_cache_dir", str(Path(folder).absolute()))
    # By default only programs that take a second are kept; the many small ones take longer together.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
