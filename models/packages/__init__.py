"""BioImage.IO packages: networks with their own weights, pre- and post-processing."""
