"""A head as a smooth function of position, so that it can be sampled wherever it has moved to without interpolation."""

import numpy as np

SEMI_AXES_MM = np.array([64.0, 86.0, 78.0])  # of the head's surface


def positions(shape, affine):
    """World coordinates [X, Y, Z, 3] of voxels."""
    return np.moveaxis(np.indices(shape, float), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


class Head:
    """Scalp, skull and a brain with blobs, some of which enhance."""

    def __init__(self, seed=0, blobs=150):
        rng = np.random.default_rng(seed)
        direction = rng.normal(size=(blobs, 3))
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        self.centres = direction * SEMI_AXES_MM * 0.7 * rng.uniform(0, 1, (blobs, 1)) ** (1 / 3)
        self.widths = rng.uniform(6.0, 10.0, blobs)
        self.heights = rng.uniform(-120.0, 120.0, blobs)
        self.enhances = rng.uniform(size=blobs) < 0.06

    def signal(self, points, contrast):
        """Signal [...] at points [..., 3] in the head, mm, with contrast from 0 to 1."""
        depth = np.linalg.norm(points / SEMI_AXES_MM, axis=-1)
        head, skull, brain = (1 / (1 + np.exp((depth - edge) / 0.04)) for edge in (1.0, 0.88, 0.76))
        value = 500 * (head - skull) * (1 + 0.3 * contrast) + 60 * (skull - brain) + 200 * brain * (1 + 0.2 * contrast)
        for centre, width, height, enhances in zip(self.centres, self.widths, self.heights, self.enhances, strict=True):
            bell = brain * np.exp(-((points - centre) ** 2).sum(-1) / (2 * width**2))
            value += bell * (height + 150 * contrast * enhances)
        return value

    def series(self, shape, affine, poses, contrast, noise=4.0, seed=1):
        """Series [X, Y, Z, T] float32 of a head that moves by poses [T, 4, 4] while contrast [T] arrives."""
        at = positions(shape, affine)
        frames = []
        for pose, agent in zip(poses, contrast, strict=True):
            back = np.linalg.inv(pose)
            frames.append(self.signal(at @ back[:3, :3].T + back[:3, 3], agent))
        noise = noise * np.random.default_rng(seed).normal(size=(*shape, len(frames)))
        return np.abs(np.stack(frames, axis=-1) + noise).astype(np.float32)
