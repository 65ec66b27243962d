"""What must exist before a service starts.

Apart from its one caller because it is slow to import: that is done while the servers start.
"""

from devops_mcp.config import Settings
from devops_mcp.embedded.roles import OWNER
from devops_mcp.embedded.servers import Servers, prepare_database
from devops_mcp.events.provisioning import create_queues
from devops_mcp.operations.bootstrap import ensure_development_key
from devops_mcp.repositories.migrate import migrate


async def prepare(servers: Servers, settings: Settings) -> None:
    """Make roles, database, schema, development key and queues; those that exist stay as they are."""
    await prepare_database(servers)
    owner_url = servers.database_url(OWNER)
    await migrate(owner_url)
    await ensure_development_key(owner_url, servers.secrets.development_key)
    await create_queues(servers.sqs_url, region=settings.aws_region, prefix=settings.queue_prefix)
