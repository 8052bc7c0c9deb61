//! The server on real sockets, in this process.

mod abuse;
mod caller;
mod calls;
mod common;
mod configuration;
mod faults;
mod http;
mod models;
mod real_model;
