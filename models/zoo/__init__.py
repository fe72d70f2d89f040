"""Published networks beside the U-Net, one module for each family; see `tiler.models.zoo.registry` for their names."""
