"""List prices of Azure, and what the platform bounds: published figures, each with its page."""

from __future__ import annotations

# https://azure.microsoft.com/pricing/details/functions/, Flex Consumption, on demand, without the free grant.
GB_SECOND = 0.000026
EXECUTION = 0.40 / 1e6
# https://azure.microsoft.com/pricing/details/storage/, a transaction of a general-purpose account.
TABLES = 0.00036 / 10_000
QUEUES = 0.004 / 10_000

# https://learn.microsoft.com/azure/storage/tables/scalability-targets
ACCOUNT_REQUESTS = 20_000
"""Requests a second that a storage account answers."""
PARTITION_ENTITIES = 2_000
"""Entities a second that one partition of a table takes."""

# https://learn.microsoft.com/azure/azure-functions/flex-consumption-plan
CORES = {512: 0.25, 2_048: 1.0, 4_096: 2.0}
"""Processors of an instance by its memory in MB."""

# The source of Durable's storage provider.
EPISODE, ACTIVITY = 6, 3
"""Transactions of an orchestrator's episode and of an activity; half are taken to be those of queues."""
