"""The messages that travel over the control socket charon.ctl."""
