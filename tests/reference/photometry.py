"""Photometric operations in NumPy: the specification of those files of csrc/transforms.

Images are uint8 (H, W, C). Where Pillow rounds to bytes or drops fractions, so does this.
"""

import numpy as np


def solarize(image, threshold):
    return np.where(image >= threshold, 255 - image, image)
