"""Virtual addresses and configuration attributes for peers."""
