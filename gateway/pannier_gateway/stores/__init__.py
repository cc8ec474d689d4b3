"""Where objects are kept: the seam (`base`) and its drivers."""
