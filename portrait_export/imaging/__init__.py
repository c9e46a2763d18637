"""Pictures: read a photo, place it into a frame, compose a result, and encode it."""
