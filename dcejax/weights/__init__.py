"""Released weights: an .npz of parameters and a .json of everything else."""
