//! Test support: golden data, tiny models, a fake engine model, conformance checks.
