"""Recipes for sequences: clips of frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearfar.arguments import integer, size_of
from nearfar.pixels import check_type
from nearfar.recipe_parts import MAX_VIEWS, Form, Images, read_indices, read_seed
from nearfar.recipes import Runs


@dataclass(frozen=True)
class Clips:
    """A recipe run on clips: all frames of a clip are changed alike, or each by itself.

    Parameters
    ----------
    recipe : recipe
        Any of `nearfar.transforms`.
    per_frame : bool
        False: the parameters that are drawn for a clip hold for all of its frames; they are those that the recipe draws
        for an image of the same index. True: each frame has its own.

    Examples
    --------
    >>> import numpy as np
    >>> from nearfar.transforms import SimCLR
    >>> clips = np.zeros((4, 10, 40, 50, 3), np.uint8)  # 4 clips of 10 frames
    >>> Clips(SimCLR(32))(clips, seed=1).shape
    (2, 4, 10, 32, 32, 3)
    >>> Clips(SimCLR(32)).sample(clips).shape, Clips(SimCLR(32), per_frame=True).sample(clips).shape
    ((2, 4), (2, 4, 10))
    """

    recipe: Runs
    per_frame: bool = False

    def __post_init__(self):
        if not isinstance(self.recipe, Runs):
            raise TypeError(f"recipe must be a recipe of nearfar.transforms, got {self.recipe!r}")
        if not isinstance(self.per_frame, (bool, np.bool_)):
            raise TypeError(f"per_frame must be True or False, got {self.per_frame!r}")

    @property
    def dtype(self) -> np.dtype:
        """The recipe's."""
        return self.recipe.dtype

    def __call__(self, clips, seed=0, epoch=0, indices=None, *, out=None, layout="nhwc", dtype=np.float32):
        """Random views of clips.

        Parameters
        ----------
        clips : uint8 array (N, T, H, W, C)
            Or uint16 or float32, as for a recipe.
        seed, epoch
            As for a recipe.
        indices : integers (N,), optional
            The clips' indices in their dataset. Default: 0..N - 1.
        out, layout, dtype
            As for a recipe.

        Returns
        -------
        array (V, N, T, h, w, C) or (V, N, T, C, h, w)
            Or a list of such arrays, if the recipe's views have several sizes.

        Raises
        ------
        TypeError, ValueError
            As for a recipe; and if there are more than 4096 views times frames with `per_frame`.
        """
        clips = _read(clips)
        count, frames = clips.shape[:2]
        params = self._draw(_sizes(clips.shape[2:4], count), clips.shape[4], frames, indices, seed, epoch)
        return self._make(clips, params, out, layout, dtype)

    def sample(self, clips, seed=0, epoch=0, *, indices=None, frames=None, image_size=None, channels=3):
        """The parameters that are drawn.

        Parameters
        ----------
        clips : uint8 array (N, T, H, W, C), or int N
        seed, epoch, indices
            As in a call.
        frames, image_size, channels
            T, (H, W) and C, if `clips` is a number.

        Returns
        -------
        structured array (V, N) of `self.dtype`, or (V, N, T) with `per_frame`
        """
        if np.ndim(clips) == 0:
            if image_size is None or (frames is None and self.per_frame):
                raise ValueError("frames and image_size must be given where there are no clips")
            count, frames = integer(clips, "clips", 0), integer(1 if frames is None else frames, "frames", 1)
            image_size, channels = size_of(image_size, "image_size"), integer(channels, "channels", 1)
        else:
            clips = _read(clips)
            count, frames, *image_size, channels = clips.shape
        return self._draw(_sizes(image_size, count), channels, frames, indices, seed, epoch)

    def apply(self, clips, params, *, out=None, layout="nhwc", dtype=np.float32):
        """The views that given parameters describe, (V, N) or (V, N, T) as `sample` returns them."""
        clips = _read(clips)
        count, frames = clips.shape[:2]
        shape = (self.recipe._count, count, frames)[: 3 if self.per_frame else 2]
        return self._make(clips, self.recipe._check_params(params, shape), out, layout, dtype)

    def plain(self, clips, *, layout="nhwc", dtype=np.float32):
        """The frames without augmentation, (N, T, h, w, C): see the recipe's method."""
        clips = _read(clips)
        made = self.recipe.plain(_as_images(clips), layout=layout, dtype=dtype)
        return made.reshape(*clips.shape[:2], *made.shape[1:])

    def denormalize(self, views, *, layout="nhwc"):
        """Views as pictures again: see the recipe's method."""
        return self.recipe.denormalize(views, layout=layout)

    def _draw(self, sizes, channels, frames, indices, seed, epoch) -> np.ndarray:
        images = Images(None, sizes, channels)
        indices = read_indices(indices, len(sizes))
        seed, epoch = read_seed(seed, epoch)
        views = self.recipe._count
        if not self.per_frame:
            return self.recipe._joined([part.draw(images, indices, seed, epoch) for part in self.recipe._parts])
        if views * frames > MAX_VIEWS:
            raise ValueError(f"views x frames must be <= {MAX_VIEWS} with per_frame, got {views} x {frames}")
        # frame t's views are numbered from t V on, so that frame 0 has the draws of a clip changed as one
        params = np.zeros((views, len(sizes), frames), self.dtype)
        for t in range(frames):
            drawn = [part.draw(images, indices, seed, epoch, t * views) for part in self.recipe._parts]
            params[:, :, t] = self.recipe._joined(drawn)
        return params

    def _make(self, clips, params, out, layout, dtype):
        form, (count, frames) = Form.of(layout, dtype), clips.shape[:2]
        if not self.per_frame:
            params = np.repeat(params, frames, axis=1)
        records = self.recipe._split(params.reshape(len(params), count * frames))
        outs = out if isinstance(out, (list, tuple)) else [out]
        flat = [_flat(array, count, frames) for array in outs]
        images = Images.read(_as_images(clips))
        made = self.recipe._make(images, records, flat if isinstance(out, (list, tuple)) else flat[0], form)
        if out is not None:
            return out
        if isinstance(made, list):
            return [_clips(array, count, frames) for array in made]
        return _clips(made, count, frames)

    def __str__(self):
        which = "each frame by itself" if self.per_frame else "all frames of a clip alike"
        return f"Clips, {which}, of\n{self.recipe}"


def _read(clips) -> np.ndarray:
    clips = np.asarray(clips)
    check_type(clips, "clips")
    if clips.ndim != 5 or 0 in clips.shape:
        raise ValueError(f"clips must be (N, T, H, W, C), each at least 1, got shape {clips.shape}")
    return clips


def _sizes(image_size, count: int) -> np.ndarray:
    return np.broadcast_to(np.array(image_size, np.int64), (count, 2))


def _as_images(clips: np.ndarray):
    """All frames, without a copy: a list of them where they are not in one piece."""
    if clips.flags.c_contiguous:
        return clips.reshape(-1, *clips.shape[2:])
    return [frame for clip in clips for frame in clip]


def _clips(views: np.ndarray, count: int, frames: int) -> np.ndarray:
    return views.reshape(len(views), count, frames, *views.shape[2:])


def _flat(out, count: int, frames: int):
    """An array for views of clips as one for views of frames."""
    if out is None:
        return None
    if not isinstance(out, np.ndarray):
        raise TypeError("out must be a NumPy array, or a list of them")
    if out.ndim != 6 or out.shape[1:3] != (count, frames) or not out.flags.c_contiguous:
        raise ValueError(f"out must be C-contiguous of shape (V, {count}, {frames}, ...), got shape {out.shape}")
    return out.reshape(len(out), count * frames, *out.shape[3:])
