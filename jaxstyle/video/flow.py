"""Optical flow between frames, by OpenCV's dense inverse search (Kroeger et al. 2016)."""

import functools
from typing import Any

import numpy as np


@functools.cache
def opencv() -> Any:
    """Return the module cv2.

    Raises:
      ValueError: it is not installed.
    """
    try:
        import cv2  # pyright: ignore[reportMissingImports] - an extra
    except ImportError as error:
        raise ValueError(
            "videos need OpenCV; install it with `pip install 'jaxstyle[video]'`."
        ) from error
    return cv2


class FlowEstimator:
    """Estimates the flow between frames of one size.

    Example:
      A square that moves two pixels to the right:

      >>> import numpy as np
      >>> from jaxstyle.video.flow import FlowEstimator
      >>> frame = np.zeros((48, 64, 3), np.uint8)
      >>> frame[16:32, 16:32] = np.arange(16)[:, None] * np.array([9, 5, 7], np.uint8)
      >>> moved = np.roll(frame, 2, axis=1)
      >>> flow = FlowEstimator()(frame, moved)
      >>> flow.shape, np.round(flow[20, 20]).astype(int)
      ((48, 64, 2), array([2, 0]))
    """

    def __init__(self):
        cv2 = opencv()
        self._gray = functools.partial(cv2.cvtColor, code=cv2.COLOR_RGB2GRAY)
        self._search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, frame: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Estimate where each pixel of `frame` is in `other`.

        Args:
          frame: `uint8[h, w, 3]`, RGB.
          other: the same.

        Returns:
          `float32[h, w, 2]`, see `jaxstyle.motion`.
        """
        # The result is a view of memory that the next call reuses.
        return self._search.calc(self._gray(frame), self._gray(other), None).copy()
