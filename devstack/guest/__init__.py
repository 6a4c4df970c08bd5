"""The test guest: a small Linux machine that reports on its console what it keeps."""
