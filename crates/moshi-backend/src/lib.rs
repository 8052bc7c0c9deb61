//! The server and the command line program of rustymoshi.
