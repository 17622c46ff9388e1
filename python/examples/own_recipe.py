"""Train with views of your own making, and watch the features while they are learned.

    python own_recipe.py [epochs]

A recipe is any object that can be called as below and has `plain`, the view for evaluation. This one shifts digits by
up to a pixel and adds noise. It draws from a generator that depends on (seed, epoch, image) alone, so that a run can be
repeated and resumed exactly.
"""

import sys

import nearfar as nf
import numpy as np


class ShiftAndNoise:
    """Two views of grey images: a shift by -1, 0 or 1 pixels on each axis, and Gaussian noise."""

    def __init__(self, noise: float = 0.15):
        self.noise = noise

    def __call__(self, images, seed=0, epoch=0, indices=None):
        count, height, width, channels = images.shape
        views = np.empty((2, count, height, width, channels), np.float32)
        plain = self.plain(images)
        for place, index in enumerate(range(count) if indices is None else indices):
            random = np.random.default_rng([seed, epoch, int(index)])
            for view in views[:, place]:
                view[...] = np.roll(plain[place], random.integers(-1, 2, 2), axis=(0, 1))
                view += self.noise * random.standard_normal(view.shape, np.float32)
        return views

    def plain(self, images):
        return (images.astype(np.float32) / 255 - 0.3) / 0.38


def main(epochs: int = 10) -> None:
    data = nf.data.digits()
    encoder = nf.convnet((32, 64, 128), in_channels=1)
    method = nf.SimCLR(encoder, nf.projection_head(128, 128, 64), temperature=0.2)

    def watch(history):
        if history["step"][-1] % 10 == 0:
            v, test_v = method.transform(data.images), method.transform(data.test_images)
            accuracy = nf.measure.knn_probe(v, data.labels, test_v, data.test_labels)
            positive, negative = history["positive_cosine"][-1], history["negative_cosine"][-1]
            print(
                f"step {history['step'][-1]:4}: loss {history['loss'][-1]:.3f}, "
                f"cosine of positives {positive:.2f}, of negatives {negative:.2f}, kNN accuracy {accuracy:.3f}"
            )

    nf.fit(method, data.images, ShiftAndNoise(), epochs=epochs, callback=watch, progress=False)
    print(nf.evaluate(method, data))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
