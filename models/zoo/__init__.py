"""Published networks, one module for each family; `tiler.models.zoo.registry` lists their names.

A choice that the source leaves open is marked [choice].
"""
