"""The plugin host: contract, loader, dependencies."""
