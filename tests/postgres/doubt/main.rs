//! Lost connections, dead servers and paused hosts: what was acknowledged is there, once.

mod backups;
mod campaigns;
mod copies;
mod crowded;
mod deletions;
mod framing;
mod hosts;
mod large;
mod locks;
mod long_keys;
mod lost_connections;
mod mended;
mod migration;
mod opening;
mod orders;
mod partition;
mod passwords;
mod replication;
mod servers;
mod tls;
mod vanished;
