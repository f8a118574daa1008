"""Real RabbitMQ and PostgreSQL servers for tests, on private ports and folders, from Debian's packages.

`python -m tests.services run postgres rabbitmq -- COMMAND` starts servers for a whole test run;
a test that stops or breaks a server starts one of its own:

    with server_folder() as folder, RabbitMQ(folder / "rabbitmq") as rabbit:
        rabbit.kill()
        rabbit.start()

Nothing here may touch a server, a port or a folder that it did not make, nor know anything of datarun.
"""

from tests.services.postgres import Postgres
from tests.services.rabbitmq import RabbitMQ
from tests.services.server import ServerError, server_folder

__all__ = ["Postgres", "RabbitMQ", "ServerError", "server_folder"]
