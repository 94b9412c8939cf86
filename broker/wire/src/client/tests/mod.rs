//! The client against a broker that does what each test tells it to.

mod admin;
mod connection;
mod mock;
mod repeats;
mod security;
mod versions;
