"""Worker threads, jobs and timers: where all threads of the daemon originate."""
