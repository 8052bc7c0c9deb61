//! The server and the command line program of rustymoshi.
//!
//! [`Server::start`] serves a model over HTTP and WebSockets; the binary `moshi-backend` is a thin shell around it.

mod app;
pub mod bench;
pub mod build_info;
mod chat;
pub mod cli;
pub mod commands;
pub mod config;
mod engine_loop;
pub mod engine_thread;
mod health;
pub mod metrics;
pub mod model;
mod pages;
pub mod quality;
mod server;
pub mod shutdown;
pub mod tls;

pub use server::{Server, ServerError};
