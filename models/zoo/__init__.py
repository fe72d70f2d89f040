"""Published networks beside the U-Net, one module for each family; see `tiler.models.registry` for their names."""
