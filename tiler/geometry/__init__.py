"""Where tiles lie: integers only, one axis first, then the product of the axes.

Everything here is in voxels of the volume, axes in the order z, y, x, spans half open. On one axis, for a
tile that is held nowhere::

    volume      ...|----------------------------------------------------|...
    stride grid    |     |     |     |     |     |     |     |     |     |
    read                 [==low==|=========core=========|==high===]          what the model sees: `tile` voxels
    output                 [--------------------------------]                read less shrink_low and shrink_high
    block                            (-----------------------------...       what one task writes
    write                            [==================]                    core, clipped to the block
    crop                             where `write` lies in `output`

A core starts on the stride grid *of the volume* and is a whole number of strides long, because a network
which pools repeats exactly only under a shift by its total stride.
"""

from tiler.geometry.boxes import Box, Grid, Shape, Span, hull
from tiler.geometry.footprints import Footprint, Reach
from tiler.geometry.tiles import Tile, canvas_of, reads_of, tiles_of

__all__ = ["Box", "Footprint", "Grid", "Reach", "Shape", "Span", "Tile", "canvas_of", "hull", "reads_of",
           "tiles_of"]
