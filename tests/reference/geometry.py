"""Operations that move pixels, in NumPy: the specification of csrc/transforms/{window,flip,rotate,affine,perspective,
erase,warp}.c.

Images are uint8 (H, W, C). Warps are in float64, as Pillow computes them, apart from nearest neighbours, whose
positions Pillow adds up in 2^-16 pixels.
"""

import math

import numpy as np


def places(start, count, size, mode):
    """The pixels 0 .. size - 1 that stand at start, start + 1, ...; -1 for the fill."""
    i = np.arange(start, start + count)
    if mode == "constant":
        return np.where((i >= 0) & (i < size), i, -1)
    if mode == "edge" or size == 1:
        return i.clip(0, size - 1)
    repeat = mode == "symmetric"
    period = 2 * size - 2 + 2 * repeat
    i %= period
    return np.where(i < size, i, period - repeat - i)


def window(image, top, left, height, width, mode="constant", fill=0):
    """Rows and columns of an image that goes on beyond its borders."""
    rows, columns = places(top, height, image.shape[0], mode), places(left, width, image.shape[1], mode)
    outside = (rows < 0)[:, None] | (columns < 0)
    return np.where(outside[..., None], np.broadcast_to(np.uint8(fill), image.shape[2]), image[rows][:, columns])


def pad(image, left, top, right, bottom, mode, fill=0):
    height, width = image.shape[:2]
    return window(image, -top, -left, height + top + bottom, width + left + right, mode, fill)


def center_crop(image, height, width):
    top, left = round((image.shape[0] - height) / 2), round((image.shape[1] - width) / 2)
    return image[top : top + height, left : left + width]


def erase(image, top, left, height, width, value):
    out = image.copy()
    out[top : top + height, left : left + width] = value
    return out


def nearest_resize(image, height, width):
    rows, columns = (
        scale_places(0, size / length, size, length)
        for size, length in zip(image.shape[:2], (height, width), strict=True)
    )
    return image[rows][:, columns]


# ---- warps ----


def rotation(angle, width, height, expand=False, center=None):
    """Six numbers that take the result to the image, and the result's size (height, width)."""
    radians = -math.radians(angle % 360)
    a, b, d = (round(x, 15) for x in (math.cos(radians), math.sin(radians), -math.sin(radians)))
    x, y = center or (width / 2, height / 2)
    m = [a, b, a * -x + b * -y + x, d, a, d * -x + a * -y + y]
    if not expand:
        return m, (height, width)
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    xs, ys = zip(*((m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]) for x, y in corners), strict=True)
    w, h = math.ceil(max(xs)) - math.floor(min(xs)), math.ceil(max(ys)) - math.floor(min(ys))
    x, y = -(w - width) / 2, -(h - height) / 2
    m[2], m[5] = m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]
    return m, (h, w)


def affine_map(angle, translate, scale, shear, center):
    """The inverse of translate, centre, rotate, scale, shear y, shear x, centre back, as six numbers."""
    angle, sx, sy = (math.radians(x) for x in (angle, *shear))
    rotate = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    forth = scale * rotate @ [[1, 0], [-math.tan(sy), 1]] @ [[1, -math.tan(sx)], [0, 1]]
    back = np.linalg.inv(forth)
    shift = np.asarray(center) - back @ (np.asarray(center) + translate)
    return [*back[0], shift[0], *back[1], shift[1]]


def perspective_map(startpoints, endpoints):
    """Eight numbers that take the result to the image."""
    rows, values = [], []
    for (u, v), (x, y) in zip(startpoints, endpoints, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.linalg.solve(np.array(rows, float), np.array(values, float)).astype(np.float32).astype(float).tolist()


def scale_places(origin, step, size, count):
    """Positions of nearest neighbours without rotation, added up; -1 outside."""
    position, table = origin + step * 0.5, []
    for _ in range(count):
        table.append(int(position) if 0 <= position < size else -1)
        position += step
    return np.array(table)


def step_places(m, height, width):
    """Columns and rows that nearest neighbours come from, with 16 binary places."""
    a = [math.floor(x * 65536 + 0.5) for x in (m[0], m[1], m[2] + m[0] * 0.5 + m[1] * 0.5)]
    b = [math.floor(x * 65536 + 0.5) for x in (m[3], m[4], m[5] + m[3] * 0.5 + m[4] * 0.5)]
    y, x = np.mgrid[:height, :width]
    return (a[2] + a[0] * x + a[1] * y) >> 16, (b[2] + b[0] * x + b[1] * y) >> 16


def positions(m, height, width):
    """Where the pixels of the result come from; pixel 0 of the image has its centre at 1/2."""
    m = [*m, 0, 0][:8]
    y, x = np.mgrid[:height, :width] + 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        over = m[6] * x + m[7] * y + 1
        return (m[0] * x + m[1] * y + m[2]) / over, (m[3] * x + m[4] * y + m[5]) / over


def cubic_weights(d, a=-1):
    """Of the pixels at distances 1 + d, d, 1 - d, 2 - d."""
    near, far = (lambda x: (a + 2) * x**3 - (a + 3) * x**2 + 1), (lambda x: a * (x**3 - 5 * x**2 + 8 * x - 4))
    return [far(1 + d), near(d), near(1 - d), far(2 - d)]


def interpolate(image, u, v, interpolation):
    """Which positions are inside the image, and its values there, its borders going on."""
    height, width, channels = image.shape
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    u, v = np.where(inside, u, 0) - 0.5, np.where(inside, v, 0) - 0.5
    left, top = np.floor(u).astype(int), np.floor(v).astype(int)
    dx, dy = u - left, v - top
    if interpolation == "bilinear":
        first, wx, wy = 0, [1 - dx, dx], [1 - dy, dy]
    else:
        first, wx, wy = -1, cubic_weights(dx), cubic_weights(dy)
    total = np.zeros((*u.shape, channels))
    for j, weight_y in enumerate(wy):
        for i, weight_x in enumerate(wx):
            row, column = (top + first + j).clip(0, height - 1), (left + first + i).clip(0, width - 1)
            total += (weight_x * weight_y)[..., None] * image[row, column]
    return inside, total


def sample(image, u, v, interpolation, fill):
    """The image at positions; fractions are dropped."""
    inside, total = interpolate(image, u, v, interpolation)
    value = np.floor(total.clip(0, 255) + 1e-9).astype(np.uint8)
    return np.where(inside[..., None], value, np.broadcast_to(np.uint8(fill), image.shape[2]))


def pick(image, columns, rows, fill):
    """The pixels at whole-numbered places (height, width) of columns and rows."""
    height, width, channels = image.shape
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    value = image[np.where(inside, rows, 0), np.where(inside, columns, 0)]
    return np.where(inside[..., None], value, np.broadcast_to(np.uint8(fill), channels))


def warp(image, m, size=None, interpolation="bilinear", fill=0):
    """`m`: six or eight numbers; `size`: of the result, (height, width)."""
    height, width = size or image.shape[:2]
    affine = len(m) == 6 or (m[6] == 0 and m[7] == 0)
    if interpolation != "nearest":
        return sample(image, *positions(m, height, width), interpolation, fill)
    if affine and m[1] == m[3] == 0:
        columns = scale_places(m[2], m[0], image.shape[1], width)
        rows = scale_places(m[5], m[4], image.shape[0], height)
        return pick(image, *np.broadcast_arrays(columns, rows[:, None]), fill)
    if affine and corners_fit(m, height, width):
        return pick(image, *step_places(m, height, width), fill)
    return pick(
        image,
        *(np.floor(np.nan_to_num(p, nan=-1)).clip(-1, 1e9).astype(int) for p in positions(m, height, width)),
        fill,
    )


def corners_fit(m, height, width):
    corners = [(0, 0), (width, height), (0, height), (width, 0)]
    return all(abs(x * m[i] + y * m[i + 1] + m[i + 2]) < 32768 for x, y in corners for i in (0, 3))


def rotate(image, angle, interpolation="bilinear", expand=False, center=None, fill=0):
    height, width = image.shape[:2]
    quarters = angle % 360 / 90
    if center is None and quarters == int(quarters) and (quarters % 2 == 0 or expand or height == width):
        return np.rot90(image, int(quarters))
    m, size = rotation(angle, width, height, expand, center)
    return warp(image, m, size, interpolation, fill)
