"""One file a group of jobs. Importing it registers them, in this order."""
from jobs import access, conditions, demo, keys, multipart, network, properties, resume, sessions, versions
