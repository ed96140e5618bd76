"""Videos: frames in and out, optical flow, and the schedule that paints one frame after another."""
