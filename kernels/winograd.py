"""Winograd's minimal filtering: a 3x3 convolution by 6x6 output tiles, in a fifth of the products.

F(6x6, 3x3) (Lavin and Gray 2016, arXiv 1509.09308): with d an 8x8 tile of the input, g the kernel,

    y = A (G g G^T  *  B d B^T) A^T        (* element by element)

in 64 products a tile and channel pair, where the direct sum takes 324. As matrices over flattened
tiles the two transforms are kron(B, B), 64 x 64, and kron(A, A), 36 x 64.
"""

import numpy as np

TAPS = 3
OUTPUTS = 6
POINTS = OUTPUTS + TAPS - 1
# Interpolation points; the last one is infinity. Small and symmetric: little cancellation.
_FINITE_POINTS = np.array([0, 1, -1, 0.5, -0.5, 2, -2])


def transforms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The one-dimensional matrices, float64: A (6, 8), B (8, 8), G (8, 3).

    Rows of B have unit length, the inverse scale is in G: it keeps fp32 rounding small.
    """
    finite = _FINITE_POINTS
    output = np.vander(finite, OUTPUTS, increasing=True).T
    output = np.column_stack([output, np.eye(OUTPUTS)[-1]])
    kernel = np.vander(finite, TAPS, increasing=True)
    differences = finite[:, None] - finite + np.eye(len(finite))
    kernel = np.vstack([kernel / differences.prod(axis=1)[:, None], np.eye(TAPS)[-1]])
    rows = [np.poly(np.delete(finite, i))[::-1] for i in range(len(finite))]
    data = np.array([*(np.append(row, 0) for row in rows), np.poly(finite)[::-1]])
    scale = np.linalg.norm(data, axis=1, keepdims=True)
    return output, data / scale, kernel * scale


def transformed_kernel(kernel: np.ndarray) -> np.ndarray:
    """(out, in, 3, 3) -> (64, in, out): the products' matrices, one for each position of a tile."""
    _, _, G = transforms()
    spread = np.einsum("uy,vx,oiyx->uvio", G, G, kernel)
    return spread.reshape(POINTS * POINTS, *spread.shape[2:])


def input_transform() -> np.ndarray:
    """(64, 64), for flattened 8x8 tiles."""
    _, B, _ = transforms()
    return np.kron(B, B)


def output_transform() -> np.ndarray:
    """(36, 64), to flattened 6x6 tiles."""
    A, _, _ = transforms()
    return np.kron(A, A)
