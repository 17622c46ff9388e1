"""The training loop of SimCLR written out, one array after the other.

    python loop_by_hand.py [epochs]

images (N, H, W, C) -> views (2, N, h, w, C) -> features v (2N, d) -> embeddings z (2, N, D) -> loss, and back.
"""

import sys

import nearfar as nf
import numpy as np


def main(epochs: int = 20, batch_size: int = 256) -> None:
    data = nf.data.digits()
    augment = nf.transforms.SimCLR(
        8, scale=(0.5, 1), flip=0, strength=0.5, grayscale=0, blur=0, mean=(0.3,), std=(0.38,)
    )
    encoder = nf.convnet((32, 64, 128), in_channels=1, seed=0)
    head = nf.projection_head(encoder.out_features, 128, 64, seed=1)

    steps = epochs * (len(data.images) // batch_size)
    optimizer = nf.AdamW([encoder, head], lr=2e-3, weight_decay=1e-4)
    schedule = nf.cosine_schedule(2e-3, steps, warmup_steps=steps // 10)

    def accuracy() -> float:
        """kNN accuracy of the features of images as they are, without augmentation."""
        train_v = encoder.forward(augment.plain(data.images))
        test_v = encoder.forward(augment.plain(data.test_images))
        return nf.measure.knn_probe(train_v, data.labels, test_v, data.test_labels)

    print(f"untrained: kNN accuracy {accuracy():.3f}")
    for step in range(steps):
        epoch, batch = divmod(step, len(data.images) // batch_size)
        order = np.random.default_rng([0, epoch]).permutation(len(data.images))
        rows = order[batch * batch_size : (batch + 1) * batch_size]

        views = augment(data.images[rows], seed=0, epoch=epoch, indices=rows)  # (2, N, 8, 8, 1) float32
        v = encoder.forward(views.reshape(-1, 8, 8, 1), training=True)  # (2N, 128)
        z = head.forward(v, training=True)  # (2N, 64)
        loss, d_z = nf.nt_xent(z.reshape(2, len(rows), -1), temperature=0.2)  # d_z: (2, N, 64)
        d_v = head.backward(d_z.reshape(z.shape), input_gradient=True)  # (2N, 128); the head's gradients are in it
        encoder.backward(d_v)
        optimizer.step(schedule(step))

        if (step + 1) % (steps // 5 or 1) == 0:
            chance = np.log(2 * len(rows) - 1)
            print(f"step {step + 1:4}: loss {loss:.3f} (chance {chance:.3f}), kNN accuracy {accuracy():.3f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
