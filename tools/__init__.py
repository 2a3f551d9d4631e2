"""What makes or checks parts of the repository; nothing here is installed."""
