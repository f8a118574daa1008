"""The message broker between scheduler and runners: RabbitMQ, or a folder on a laptop."""
