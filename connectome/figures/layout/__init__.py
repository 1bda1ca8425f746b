"""Page layout and drawing elements shared by all figures."""
