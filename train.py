"""Train from a checkout: ``python train.py --config=configs/paper.py --workdir=DIR``."""

from dcejax.cli.train import main

if __name__ == "__main__":
    main()
