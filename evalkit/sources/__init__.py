"""Sources: plug-ins that say where prompts come from, one file each."""
