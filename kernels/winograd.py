"""Winograd's minimal filtering: a 3x3 convolution tile by tile, in a fraction of the products.

F(m, 3) gives m neighbouring outputs in m + 2 products, where the direct sum takes 3 m (Lavin and
Gray 2016, arXiv 1509.09308). With d a window of the input and g the kernel,

    y = A (G g * B d)        (* element by element)

At stride 2 the outer taps meet every other sample of the window, and the middle tap the rest. So
y is F(m, 2) of the ones plus plain products of the others, in 2 m + 1 products; with A, B and G of
the two set side by side, the formula is the same. In two dimensions the transforms are Kronecker
products, over flattened tiles.
"""

from dataclasses import dataclass

import numpy as np

TAPS = 3
# Small and nearly symmetric: little cancellation. F(m, r) takes the first m + r - 2, and infinity.
_FINITE_POINTS = np.array([0, 1, -1, 0.5, -2, -0.5, 2])

Matrices = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Filtering:
    """One axis: ``outputs`` at a time, 2 to 6, at stride 1 or 2."""

    outputs: int
    stride: int = 1

    @property
    def window(self) -> int:
        """Samples of the input that the outputs are computed from; as many are the products."""
        return self.stride * (self.outputs - 1) + TAPS

    def matrices(self) -> Matrices:
        """A (outputs, window), B (window, window) and G (window, 3), float64."""
        if self.stride == 1:
            return _minimal(self.outputs, TAPS)
        outer_a, outer_b, outer_g = _minimal(self.outputs, TAPS - 1)
        middle = np.eye(self.outputs)
        b, g = np.zeros((self.window, self.window)), np.zeros((self.window, TAPS))
        b[: -self.outputs, 0::2], b[-self.outputs :, 1::2] = outer_b, middle
        g[: -self.outputs, 0::2], g[-self.outputs :, 1] = outer_g, 1
        return np.hstack([outer_a, middle]), b, g


@dataclass(frozen=True)
class TileFiltering:
    """Both axes: a tile of outputs from a window of the input."""

    down: Filtering
    along: Filtering

    @property
    def points(self) -> int:
        """Products a tile and channel pair, and positions of the window."""
        return self.down.window * self.along.window

    def input_transform(self) -> np.ndarray:
        """(points, points), for flattened windows."""
        return np.kron(self.down.matrices()[1], self.along.matrices()[1])

    def transformed_kernel(self, kernel: np.ndarray) -> np.ndarray:
        """(out, in, 3, 3) -> (points, in, out): the products' matrices, one for each point."""
        down, along = self.down.matrices()[2], self.along.matrices()[2]
        spread = np.einsum("uy,vx,oiyx->uvio", down, along, kernel, optimize=True)
        return spread.reshape(self.points, *spread.shape[2:])

    def output_transform(self) -> np.ndarray:
        """(outputs, points), to flattened tiles."""
        return np.kron(self.down.matrices()[0], self.along.matrices()[0])


def _minimal(outputs: int, taps: int) -> Matrices:
    """A, B and G of F(outputs, taps), by Toom and Cook's interpolation.

    Rows of B have unit length, the inverse scale is in G: it keeps fp32 rounding small.
    """
    finite = _FINITE_POINTS[: outputs + taps - 2]
    output = np.vander(finite, outputs, increasing=True).T
    output = np.column_stack([output, np.eye(outputs)[-1]])
    kernel = np.vander(finite, taps, increasing=True)
    differences = finite[:, None] - finite + np.eye(len(finite))
    kernel = np.vstack([kernel / differences.prod(axis=1)[:, None], np.eye(taps)[-1]])
    rows = [np.poly(np.delete(finite, i))[::-1] for i in range(len(finite))]
    data = np.array([*(np.append(row, 0) for row in rows), np.poly(finite)[::-1]])
    scale = np.linalg.norm(data, axis=1, keepdims=True)
    return output, data / scale, kernel * scale
