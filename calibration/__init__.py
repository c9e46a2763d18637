"""The calibration set: photographs with masks to gate on."""
