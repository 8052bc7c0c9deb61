//! The server on real sockets, in this process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests, helpers included")]

mod abuse;
mod bursts;
mod caller;
mod calls;
mod closing;
mod common;
mod configuration;
mod faults;
mod frameworks;
mod http;
mod models;
mod operations;
mod origins;
mod program;
mod queue;
mod quotas;
mod real_model;
mod realtime;
mod realtime_client;
mod recording;
mod roles;
mod security;
mod short_keys;
mod steering;
