"""What several test modules share: paths, servers, a browser, small volumes and checks."""
