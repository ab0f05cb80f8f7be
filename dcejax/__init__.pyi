"""What type checkers see of the public names, which are imported when they are first used."""

from dcejax import methods as methods
from dcejax import physics as physics
from dcejax.api import batches as batches
from dcejax.api import fit as fit
from dcejax.api import init_state as init_state
from dcejax.api import load_weights as load_weights
from dcejax.api import make_scan as make_scan
from dcejax.api import make_stage as make_stage
from dcejax.api import make_train_step as make_train_step
from dcejax.api import open_scan as open_scan
from dcejax.api import predict as predict
from dcejax.api import save_maps as save_maps
from dcejax.api import simulate as simulate

__version__: str
