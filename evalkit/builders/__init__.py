"""Builders: plug-ins that make a base checkpoint from nothing, one file each."""
