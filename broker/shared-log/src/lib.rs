//! A linearizable log of small entries on an object store.
