"""A web page on which one sees a run: its state, a server in a thread, and the page's files."""
