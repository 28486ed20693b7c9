"""What a run is, without torch: everything that is refused in a tenth of a second."""
