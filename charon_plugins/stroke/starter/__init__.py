"""The starter: reads ipsec.conf, starts the daemon and sends it what the file says."""
