//! Python bindings of rustymoshi: a thin shell over the engine.
