# No programs of this folder yet.
