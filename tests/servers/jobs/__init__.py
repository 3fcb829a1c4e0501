"""One file a group of jobs. Importing it registers them, in this order."""
from jobs import access, conditions, demo, inventory, keys, listing, multipart, network, properties, resume, sessions, versions
