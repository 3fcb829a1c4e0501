"""One file a group of jobs. Importing it registers them, in this order."""
from jobs import (
    access, conditions, demo, evidence, histories, inventory, keys, listing, manifests, multipart, network, passes,
    policy, properties, report, resume, sessions, settings, shards, versions)
