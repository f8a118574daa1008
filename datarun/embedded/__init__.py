"""The whole platform on one machine with one command: ``bin/up``.

It composes what is deployed separately elsewhere; nothing else imports it.
"""
