"""What the master can do, whoever asks: API, admin, scheduler and commands call these functions.

Services read and write the database and blobs; they know neither HTTP nor the broker.
"""
