//! The wire messages of /api/chat and their error codes.
