"""Objects of whole volumes, made block by block: components, splits, links, numbers and tables."""
