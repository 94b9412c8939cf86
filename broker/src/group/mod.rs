//! Consumer groups: members, generations, offsets, routes.
