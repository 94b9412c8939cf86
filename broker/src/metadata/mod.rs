//! Topics, configs, segments and registrations, replayed from the shared log.
