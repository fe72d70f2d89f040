"""Objects of whole volumes, block by block: components, splits, links, numbers and tables."""
