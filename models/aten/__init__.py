"""A network as a graph of aten operators, and parts of it computed without the rest.

::

    record      one forward pass on the meta device -> `Graph`
    maps        which box of an input a box of the output needs
    operators   one table: for every operator its maps, and how a part is made
    program     from a wanted box backwards to what it needs, then forwards on exactly that
    stored      which tensors are kept whole between two stages
    staged      the stages, their blocks, and what each block reads
    staged_network  the network run stage by stage, each tensor block by block
"""
