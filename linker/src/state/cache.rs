//! The local cache of offset maps, on sled. It may be deleted at any time: everything in it is rebuilt from the
//! target and the shared log. Flushing it protects against a crash of the process, not against power loss.
