//! The server on real sockets, in this process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests, helpers included")]

mod abuse;
mod caller;
mod calls;
mod common;
mod configuration;
mod faults;
mod http;
mod models;
mod operations;
mod queue;
mod real_model;
mod realtime;
mod recording;
mod security;
