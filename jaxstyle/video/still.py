"""Find where nothing moves in a video, so that its picture can stay as it is."""

import numpy as np
from jaxtyping import Bool, UInt8

from jaxstyle.video.flow import opencv

# Largest change, of 255, that is noise; and the pixels around a change that are not still.
_NOISE, _RADIUS = 3, 2


class StillRegions:
    """Compares each frame with what its pixels showed when they last changed.

    A comparison with the frame before would never notice a slow fade.

    Example:
      >>> import numpy as np
      >>> from jaxstyle.video.still import StillRegions
      >>> frame = np.full((8, 8, 3), 100, np.uint8)
      >>> regions = StillRegions(frame)
      >>> [bool(regions.update(frame + change).all()) for change in (2, 4, 6)]
      [True, False, True]
    """

    def __init__(self, frame: UInt8[np.ndarray, "h w c"]):
        self._anchor = frame

    def update(self, frame: UInt8[np.ndarray, "h w c"]) -> Bool[np.ndarray, "h w"]:
        """Return which pixels of the next frame are still."""
        cv2, side = opencv(), 2 * _RADIUS + 1
        change = cv2.absdiff(frame, self._anchor).max(axis=-1)
        still = cv2.dilate(change, np.ones((side, side), np.uint8)) <= _NOISE
        self._anchor = np.where(still[..., None], self._anchor, frame)
        return still
