"""The worker of the runtime `python`. Standard library only: it runs on the host's interpreter."""
