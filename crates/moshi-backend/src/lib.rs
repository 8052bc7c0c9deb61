//! The server and the command line program of rustymoshi.
//!
//! [`Server::start`] serves a model over HTTP and WebSockets; the binary `moshi-backend` is a thin shell around it.

mod access;
mod address;
mod app;
pub mod auth;
pub mod build_info;
pub mod calibrate;
mod call;
mod call_sink;
mod chat;
pub mod cli;
pub mod commands;
pub mod config;
mod connections;
mod engine_loop;
mod engine_status;
pub mod engine_thread;
mod forwarded;
mod health;
mod hsts;
mod key_id;
mod lent_keys;
mod listen;
pub mod metrics;
pub mod model;
mod openapi;
mod origin;
mod pages;
mod peer;
mod realtime;
mod recognition;
mod refusal;
mod reload;
mod server;
pub mod shutdown;
mod text_file;
mod tick_window;
pub mod tls;
mod transcriptions;
mod watchdog;
mod websocket;

pub use server::{Server, ServerError};
