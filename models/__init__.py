"""The portrait-segmentation networks and their registry."""
