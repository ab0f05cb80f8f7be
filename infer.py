"""Infer from a checkout: ``python infer.py --demo`` or ``python infer.py --input=PATH --output_dir=DIR``."""

from dcejax.cli.infer import main

if __name__ == "__main__":
    main()
