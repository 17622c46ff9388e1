"""Training learns something on real images: a short version of tests/bench/fashion_mnist.py.

Needs Fashion-MNIST, from Debian's package dataset-fashion-mnist.
"""

import nearfar as nf

IMAGES, TEST_IMAGES, EPOCHS, BATCH = 2000, 2000, 3, 64


def test_the_trained_encoder_beats_the_untrained_one():
    data = nf.data.fashion_mnist()
    images, labels = data.images[:IMAGES], data.labels[:IMAGES]
    test_images, test_labels = data.test_images[:TEST_IMAGES], data.test_labels[:TEST_IMAGES]
    augment = nf.transforms.SimCLR(28, scale=(0.2, 1), strength=0.5, grayscale=0, blur=0, mean=0.286, std=0.353)
    encoder = nf.convnet((32, 64, 128), in_channels=1)
    method = nf.SimCLR(encoder, nf.projection_head(128, 128, 64), temperature=0.2)

    def probes():
        v, test_v = (method.transform(some, augment) for some in (images, test_images))
        both = nf.measure.knn_probe, nf.measure.linear_probe
        return [probe(v, labels, test_v, test_labels) for probe in both]

    before = probes()
    history = nf.fit(method, images, augment, epochs=EPOCHS, batch_size=BATCH, progress=False)
    after = probes()
    assert history["loss"][-1] < history["chance_level"][-1] - 0.5
    assert after[0] > before[0] + 0.02
    assert after[1] > before[1]
