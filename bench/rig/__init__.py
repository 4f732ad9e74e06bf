"""What every measurement needs: the machine, the daemon, the peers, and ratios with a spread."""
