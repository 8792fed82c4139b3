"""What the objects in the blob store hold."""
