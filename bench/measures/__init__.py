"""One file for each group of bars. run(watch) gives a rig.ratios.Section."""
