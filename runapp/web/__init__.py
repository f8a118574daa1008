"""Pages for people with a browser, which show what services tell: nothing is decided or changed here."""
