"""updown: runs a command when a tunnel comes up, and when it goes down."""
