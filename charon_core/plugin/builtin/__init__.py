"""The features that charon-core brings along, as plugins like all others."""
