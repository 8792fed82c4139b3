"""The files in monitoring/, made from here so that they keep to the metrics' names."""
