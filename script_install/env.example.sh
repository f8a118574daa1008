# Settings of the installation: copy to env.sh, which git ignores, and fill in. Assignments only, no commands.
# In single quotes a password may have any character; a single quote itself is written '\''.

# The master: the name or address by which users and runners reach it.
export IP_MASTER='datarun.example.org'

export DR_DATABASE_NAME='datarun'
export DR_DATABASE_USER='datarun'
export DR_DATABASE_PASSWORD=''
export RMQ_VHOST='datarun'

# The first user, who is an admin.
export USER_LOGIN='admin'
export USER_PSWD=''
export DR_EMAIL='admin@example.org'

# All others have defaults: see docs/deployment.rst.
# export DIR_DATA='/var/lib/datarun/data'
# export DIR_SUBMISSION='/var/lib/datarun/submissions'
# export NB_LOCAL_WORKER=2
# export CELERY_SCHEDULER_PERIOD=5
# export DR_TLS='self-signed'        # or letsencrypt, or own with DR_TLS_CERTIFICATE and DR_TLS_KEY
# export DR_GRACE=60                 # seconds that running folds get when a runner is stopped
