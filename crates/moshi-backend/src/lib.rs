//! The server and the command line program of rustymoshi.
//!
//! [`Server::start`] serves a model over HTTP and WebSockets; the binary `moshi-backend` is a thin shell around it.

mod address;
mod admission;
mod app;
pub mod auth;
pub mod bench;
pub mod build_info;
pub mod calibrate;
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
mod lent_keys;
mod limits;
mod listen;
mod loudness;
pub mod metrics;
pub mod model;
mod openapi;
mod origin;
mod pacer;
mod pages;
mod peer;
mod places;
pub mod quality;
mod queue;
mod quota;
mod realtime;
mod recording;
mod reload;
mod server;
pub mod shutdown;
mod standing;
mod text_file;
mod tick_window;
pub mod tls;
mod watchdog;

pub use server::{Server, ServerError};
