"""Views per second of the SimCLR recipes, and single operations, with one thread: nearfar against Pillow (torchvision's
recipe), albumentations and OpenCV.

    python tests/bench/transforms.py [--quick]

From uint8 images to normalised float32 views in one array, two views an image, with one thread and with two; the
peers' second thread is a second process that writes into shared memory. "bound" does not apply. See augmentations.py
for what the peers do. Single operations (operations.py) take one image of 225 x 225 x 3 (256 x 256 x 3 where it is
resized) at a time, on one thread.
"""

import augmentations
import harness
import nearfar as nf
import numpy as np
import operations
from augmentations import Recipe
from harness import Contender


def smooth_images(count: int, size: int, channels: int) -> np.ndarray:
    """uint8 (N, size, size, C), soft blobs with some noise, as photographs more or less are."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, 8, 8, channels))
    positions = np.linspace(0, 6.999, size)
    low, weight = positions.astype(int), positions % 1
    for axis in (1, 2):
        shape = [1] * 4
        shape[axis] = size
        w = weight.reshape(shape)
        coarse = coarse.take(low, axis) * (1 - w) + coarse.take(low + 1, axis) * w
    return np.clip(coarse + random.normal(0, 4, coarse.shape), 0, 255).astype(np.uint8)


GREY = Recipe(28, scale=(0.2, 1), strength=0.5, grayscale=0, blur=0, mean=(0.286,), std=(0.353,))

CASES = {  # name: recipe, size of the images, their number (in --quick)
    "32 -> 32, no blur": (Recipe(32, blur=0), 32, 512, 64),
    "400 -> 224, blur": (Recipe(224), 400, 32, 4),
    "grey 28 -> 28": (GREY, 28, 512, 64),
}


def ours(recipe: Recipe):
    return nf.transforms.SimCLR(
        recipe.size,
        scale=recipe.scale,
        flip=recipe.flip,
        jitter=recipe.jitter,
        strength=recipe.strength,
        grayscale=recipe.grayscale,
        blur=recipe.blur,
        mean=recipe.mean,
        std=recipe.std,
    )


def compare_operations(report: harness.Report, options):
    """One image a call, with what a call from Python costs."""
    nf.set_num_threads(1)
    images = {side: smooth_images(1, side, 3)[0] // 2 + 60 for side in (operations.SIDE, operations.RESIZED)}
    peers = {}
    for name, (package, make) in operations.PEERS.items():
        module = harness.load(package, options)
        peers[name] = module if isinstance(module, str) else make()
    for case, run in operations.OURS.items():
        image = images[operations.side_of(case)]  # not of full contrast
        contenders = [Contender("nearfar", lambda run=run, image=image: run(image))]
        for name, calls in peers.items():
            if isinstance(calls, str):
                contenders.append(Contender(name, calls))
            elif case in calls:
                contenders.append(Contender(name, lambda call=calls[case], image=image: call(image)))
        report.compare(case, contenders, options.rounds or (1 if options.quick else 7))


def main():
    options = harness.arguments(__doc__)
    report = harness.Report("transforms", options, sgemm=False)
    for case, (recipe, size, count, few) in CASES.items():
        images = smooth_images(few if options.quick else count, size, len(recipe.mean))
        for threads in (1,) if options.threads == 1 else (1, options.threads):
            nf.set_num_threads(threads)
            augment = ours(recipe)
            contenders = [Contender("nearfar", lambda augment=augment, images=images: augment(images, seed=0, epoch=0))]
            workers = []
            for name, (package, make) in augmentations.PEERS.items():
                module = harness.load(package, options)
                if isinstance(module, str):
                    contenders.append(Contender(name, module))
                elif threads == 1:
                    contenders.append(Contender(name, augmentations.all_views(make, recipe, images)))
                else:
                    workers.append(augmentations.Workers(threads, make, recipe, images))
                    contenders.append(Contender(name, workers[-1].run))
            rounds = options.rounds or (1 if options.quick else 7)
            title = f"{case}, {threads} thread{'s' if threads > 1 else ''}"
            report.compare(title, contenders, rounds, work=2 * len(images))
            for one in workers:
                one.close()
    compare_operations(report, options)
    report.write()


if __name__ == "__main__":
    main()
