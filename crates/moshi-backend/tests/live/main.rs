//! The server on real sockets, in this process.

mod abuse;
mod calls;
mod caller;
mod common;
mod configuration;
mod faults;
mod http;
mod models;
